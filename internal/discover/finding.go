package discover

import (
	"cmp"
	"net/netip"
	"path"
	"strings"
	"time"
)

// Evidence is why a relation is believed.
type Evidence string

// The kinds of evidence, best first.
const (
	// ISN: both ends saw the same pair of TCP initial sequence numbers.
	ISN Evidence = "isn"
	// Pattern: one end emitted a pattern of connections, the other saw it.
	Pattern Evidence = "pattern"
	// Conntrack: the boxes between the ends said how they translate, or, without
	// any translation, both ends saw the same addresses and ports.
	Conntrack Evidence = "conntrack"
	// Timing: natural connections opened and lasted alike at both ends.
	Timing Evidence = "timing"
	// OneSided: only one end was seen; the other has no probe.
	OneSided Evidence = "one-sided"
)

// Kinds is all kinds of evidence, best first.
func Kinds() []Evidence { return []Evidence{ISN, Pattern, Conntrack, Timing, OneSided} }

// Rank is 0 for the best kind of evidence.
func (e Evidence) Rank() int {
	switch e {
	case ISN:
		return 0
	case Pattern:
		return 1
	case Conntrack:
		return 2
	case Timing:
		return 3
	case OneSided:
		return 4
	}
	return 5
}

// Service is what a process is for, the same over restarts. The zero Service is
// a process that nobody could name.
type Service struct {
	Unit       string `json:"unit,omitempty"`
	Container  string `json:"container,omitempty"`
	Executable string `json:"executable,omitempty"`
}

// Compare orders services.
func (s Service) Compare(o Service) int {
	return cmp.Or(cmp.Compare(s.Unit, o.Unit), cmp.Compare(s.Container, o.Container), cmp.Compare(s.Executable, o.Executable))
}

// Name is short, for people.
func (s Service) Name() string {
	switch {
	case s.Unit != "":
		return strings.TrimSuffix(s.Unit, ".service")
	case s.Executable != "":
		return path.Base(s.Executable)
	case s.Container != "":
		return s.Container[:min(12, len(s.Container))]
	}
	return "unknown"
}

// Bare is the service as it is called where its process was gone before anybody
// looked: by the kernel's name of it alone.
func (s Service) Bare() Service {
	name := path.Base(s.Executable)
	if s.Executable == "" {
		name = ""
	}
	return Service{Executable: name[:min(len(name), kernelName)]}
}

// kernelName is how long the kernel's name of a process may be.
const kernelName = 15

// Party is an end of a relation: a service of a host, or an address without a
// probe.
type Party struct {
	Host     string     `json:"host,omitempty"`
	Service  Service    `json:"service,omitzero"`
	External netip.Addr `json:"external,omitzero"` // set if Host is empty
	// Site in which a private external address means something: other sites use
	// the same. The graph sets it.
	Site string `json:"site,omitempty"`
}

// Finding says that a relation was seen, by one kind of evidence. All times are
// by the clock of whoever received the reports.
type Finding struct {
	Evidence Evidence
	Client   Party
	Server   Party
	Protocol string
	Port     uint16 // that the server listens on; for an external server, the one dialled

	Dialled netip.AddrPort // as the client named the server; invalid: not known
	Served  netip.AddrPort // as the server names itself; invalid: not known
	Source  netip.Addr     // the client's own address
	Seen    netip.Addr     // the client's address as the server saw it
	Hops    []string       // hosts that translated in between, if they said so

	ClientPID, ServerPID int
	First, Last          time.Time
	Count                int // connections since the finding before
	Score                float64
	// Withdrawn: the relation was one-sided and is explained now.
	Withdrawn bool
}
