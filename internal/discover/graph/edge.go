package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// State is how alive an edge is.
//
//	         seen                    seen
//	(new) ────────▶ active ◀──────────────── stale ──Remove──▶ removed
//	                  │                        ▲
//	                  └──both ends watched and──┘
//	                     nothing seen for Stale
type State string

// The states of an edge.
const (
	Active  State = "active"
	Stale   State = "stale"
	Removed State = "removed"
)

// Key is what makes an edge: everything else about it may change.
type Key struct {
	Client   discover.Party `json:"client"`
	Server   discover.Party `json:"server"`
	Protocol string         `json:"protocol"`
	Port     uint16         `json:"port"` // that the server listens on; the one dialled if it has no probe
}

// Edge is a relation between two services.
type Edge struct {
	ID string `json:"id"`
	Key
	State      State      `json:"state"`
	Confidence float64    `json:"confidence"` // that both ends are right, 0 to 1
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Count      int        `json:"count"` // connections seen
	Paths      []Path     `json:"paths,omitempty"`
	Evidence   []Evidence `json:"evidence"`
	ClientPIDs []int      `json:"client_pids,omitempty"` // the last few
	ServerPIDs []int      `json:"server_pids,omitempty"`
}

// Path is one way through translators that an edge takes.
type Path struct {
	Dialled netip.AddrPort `json:"dialled,omitzero"` // as the client names the server
	Served  netip.AddrPort `json:"served,omitzero"`  // as the server names itself
	Source  netip.Addr     `json:"source,omitzero"`  // the client's own address
	Seen    netip.Addr     `json:"seen,omitzero"`    // the client's address as the server sees it
	Hops    []string       `json:"hops,omitempty"`   // hosts that said they translate
	Last    time.Time      `json:"last"`
}

// Translated reports whether the client's address changed on the way.
func (p Path) Translated() bool {
	return p.Source.IsValid() && p.Seen.IsValid() && p.Source != p.Seen
}

// Evidence is one kind of evidence for an edge.
type Evidence struct {
	Kind  discover.Evidence `json:"kind"`
	Count int               `json:"count"`
	Score float64           `json:"score"` // the best of it, 0 to 1
	First time.Time         `json:"first"`
	Last  time.Time         `json:"last"`
}

const (
	keptPaths = 8
	keptPIDs  = 4
)

// id is short and stable, for people and stores.
func (k Key) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []any{k.Client, k.Server, k.Protocol, k.Port}))
	return hex.EncodeToString(sum[:8])
}

// external reports whether only one end has a probe.
func (k Key) external() bool { return k.Client.Host == "" || k.Server.Host == "" }

// hosts gives the ends that have probes, each once.
func (k Key) hosts() []string {
	var h []string
	if k.Client.Host != "" {
		h = append(h, k.Client.Host)
	}
	if k.Server.Host != "" && k.Server.Host != k.Client.Host {
		h = append(h, k.Server.Host)
	}
	return h
}

// name of an end at the level of hosts.
func name(p discover.Party) string {
	switch {
	case p.Host != "":
		return p.Host
	case p.Site != "":
		return p.External.String() + "@" + p.Site
	}
	return p.External.String()
}

// clone shares nothing that changes.
func (e *Edge) clone() Edge {
	c := *e
	c.Paths, c.Evidence = slices.Clone(e.Paths), slices.Clone(e.Evidence)
	c.ClientPIDs, c.ServerPIDs = slices.Clone(e.ClientPIDs), slices.Clone(e.ServerPIDs)
	return c
}

// add takes a finding about the edge.
func (e *Edge) add(f *discover.Finding) {
	e.State = Active
	if e.First.IsZero() || f.First.Before(e.First) {
		e.First = f.First
	}
	if f.Last.After(e.Last) {
		e.Last = f.Last
	}
	e.Count += f.Count
	e.addEvidence(f)
	e.addPath(Path{Dialled: f.Dialled, Served: f.Served, Source: f.Source, Seen: f.Seen, Hops: f.Hops, Last: f.Last})
	e.ClientPIDs = addPID(e.ClientPIDs, f.ClientPID)
	e.ServerPIDs = addPID(e.ServerPIDs, f.ServerPID)
	e.Confidence = confidence(e.Evidence)
}

func (e *Edge) addEvidence(f *discover.Finding) {
	i := slices.IndexFunc(e.Evidence, func(v Evidence) bool { return v.Kind == f.Evidence })
	if i < 0 {
		e.Evidence = append(e.Evidence, Evidence{Kind: f.Evidence, First: f.First})
		slices.SortFunc(e.Evidence, func(a, b Evidence) int { return a.Kind.Rank() - b.Kind.Rank() })
		i = slices.IndexFunc(e.Evidence, func(v Evidence) bool { return v.Kind == f.Evidence })
	}
	v := &e.Evidence[i]
	v.Count += f.Count
	v.Score = max(v.Score, f.Score)
	if f.Last.After(v.Last) {
		v.Last = f.Last
	}
}

// addPath keeps the ways that were used last: public addresses change.
func (e *Edge) addPath(p Path) {
	i := slices.IndexFunc(e.Paths, func(o Path) bool {
		return o.Dialled == p.Dialled && o.Served == p.Served && o.Source == p.Source && o.Seen == p.Seen
	})
	switch {
	case i >= 0:
		if p.Hops == nil {
			p.Hops = e.Paths[i].Hops
		}
		e.Paths[i] = p
	case len(e.Paths) < keptPaths:
		e.Paths = append(e.Paths, p)
	default:
		oldest := slices.IndexFunc(e.Paths, func(o Path) bool { return o.Last.Equal(slices.MinFunc(e.Paths, byLast).Last) })
		e.Paths[oldest] = p
	}
}

func byLast(a, b Path) int { return a.Last.Compare(b.Last) }

func addPID(pids []int, pid int) []int {
	if pid == 0 || slices.Contains(pids, pid) {
		return pids
	}
	if len(pids) >= keptPIDs {
		pids = slices.Delete(pids, 0, 1)
	}
	return append(pids, pid)
}

// confidence combines the kinds of evidence as if they were independent. A
// second round of a pattern is worth more than the first, a second connection
// with equal sequence numbers tells nothing new.
func confidence(all []Evidence) float64 {
	wrong := 1.0
	for _, v := range all {
		switch v.Kind {
		case discover.ISN:
			wrong *= 1e-6
		case discover.Pattern:
			wrong *= 1e-2
			if v.Count > 1 {
				wrong *= 1e-2
			}
		case discover.Conntrack:
			wrong *= 1e-3
		case discover.Timing:
			wrong *= 5e-2
		case discover.OneSided:
			wrong *= 0.5
		}
	}
	return 1 - wrong
}
