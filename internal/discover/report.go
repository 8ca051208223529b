package discover

import (
	"net/netip"
	"time"
)

// Report is what one probe saw since its last report. A probe speaks of its own
// host alone, and numbers its reports, so that one that is lost, repeated or
// forged is noticed.
type Report struct {
	Host        string       `json:"host"`
	Probe       string       `json:"probe"` // random, new at each start of the probe
	Seq         uint64       `json:"seq"`   // of the report, from 1
	Time        time.Time    `json:"time"`  // by the probe's own clock
	Source      string       `json:"source"`
	Addresses   []netip.Addr `json:"addresses,omitempty"`  // of the host
	DiskBytes   int64        `json:"disk_bytes,omitempty"` // on the host's own disks; 0: not known
	Processes   []Process    `json:"processes,omitempty"`
	Listeners   []Listener   `json:"listeners,omitempty"`
	Connections []Connection `json:"connections,omitempty"`
	Emitted     []Emission   `json:"emitted,omitempty"`
	// Translations of a host that translates addresses for others.
	Translations []Translation `json:"translations,omitempty"`
	Lost         uint64        `json:"lost,omitempty"` // events that did not fit into the probe's buffers
}

// Repeat is how often at least a probe reports its open connections again: an
// edge lives by being seen, so that a lost report of a close leaves nothing
// behind.
const Repeat = 5 * time.Minute

// Process is a process of a host; PID and Start together name it for good.
type Process struct {
	PID        int    `json:"pid"`
	Start      uint64 `json:"start"` // clock ticks since boot
	Executable string `json:"executable"`
	Unit       string `json:"unit,omitempty"`      // systemd unit
	Container  string `json:"container,omitempty"` // container id
	Package    string `json:"package,omitempty"`   // Debian or RPM package of the executable
	Version    string `json:"version,omitempty"`
}

// Listener is an open port.
type Listener struct {
	Protocol string         `json:"protocol"` // "tcp" or "udp"
	Address  netip.AddrPort `json:"address"`
	PID      int            `json:"pid,omitempty"`
}

// Direction is who opened a connection, as the probe saw it.
type Direction string

// The directions.
const (
	Outbound Direction = "out"
	Inbound  Direction = "in"
)

// Connection is a connection that opened, was found open, or closed. The same
// connection is reported again, under the same ID, when more of it is known and
// every Repeat while it is open. A probe leaves out the connections that it opens
// for patterns: it reports those as emissions.
type Connection struct {
	ID        string         `json:"id"` // unique in a probe's life
	Protocol  string         `json:"protocol"`
	Direction Direction      `json:"direction"`
	Local     netip.AddrPort `json:"local"`
	Remote    netip.AddrPort `json:"remote"`
	Opened    time.Time      `json:"opened,omitzero"` // zero: before the probe
	Closed    time.Time      `json:"closed,omitzero"` // zero: not yet
	PID       int            `json:"pid,omitempty"`
	// ISN is the pair of initial sequence numbers, the opener's in the high 32
	// bits; 0: not known. Both ends see the same pair, whatever translates
	// addresses between them.
	ISN uint64 `json:"isn,omitempty"`
}

// Translation is an entry of the connection table of a host that translates
// addresses: the first packet as it came in and as it went out.
type Translation struct {
	Protocol       string         `json:"protocol"`
	Source         netip.AddrPort `json:"source"`
	Destination    netip.AddrPort `json:"destination"`
	NewSource      netip.AddrPort `json:"new_source"`
	NewDestination netip.AddrPort `json:"new_destination"`
}

// Emission is one connection that a probe opened as part of a pattern, as it
// really happened.
type Emission struct {
	Pattern string    `json:"pattern"`
	Index   int       `json:"index"` // in the pattern
	Opened  time.Time `json:"opened"`
	Closed  time.Time `json:"closed,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// Assignment tells a probe to emit a pattern toward a destination, from the
// network namespace of a process that talks to it anyway.
type Assignment struct {
	Pattern     string          `json:"pattern"`
	Destination netip.AddrPort  `json:"destination"`
	PID         int             `json:"pid"`
	Start       time.Time       `json:"start"`   // by the probe's clock
	Delays      []time.Duration `json:"delays"`  // of each open, from Start
	Holds       []time.Duration `json:"holds"`   // how long each stays open
	Expires     time.Time       `json:"expires"` // by the probe's clock
}
