// Package discovertest makes reports of hosts that talk to each other through
// translators of addresses: the truth that discovery is tested and measured
// against. It is deterministic.
package discovertest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// Start is when every world begins.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// World is hosts with probes.
type World struct {
	Rand  *rand.Rand
	Hosts map[string]*Host
	// NoISN: no probe can read sequence numbers.
	NoISN bool
	// Drop is the share of events that a probe misses.
	Drop float64
}

// New makes a world; the same seed makes the same world.
func New(seed uint64) *World {
	return &World{Rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)), Hosts: map[string]*Host{}}
}

// Host is a host with a probe and a clock of its own.
type Host struct {
	Name    string
	Address netip.Addr
	Ahead   time.Duration // of its clock
	Blind   bool          // has no probe

	report discover.Report
	ids    int
}

// Host adds a host.
func (w *World) Host(name, address string, ahead time.Duration) *Host {
	h := &Host{Name: name, Address: netip.MustParseAddr(address), Ahead: ahead}
	h.Restart(1)
	w.Hosts[name] = h
	return h
}

// Restart begins another life of the probe.
func (h *Host) Restart(life int) {
	h.report = discover.Report{
		Host: h.Name, Probe: fmt.Sprintf("%s-%d", h.Name, life), Seq: 1,
		Source: "simulated", Addresses: []netip.Addr{h.Address},
	}
}

// Run adds a process.
func (h *Host) Run(pid int, executable string) *Host {
	h.report.Processes = append(h.report.Processes, discover.Process{PID: pid, Start: 1, Executable: executable})
	return h
}

// Serve adds a process that listens on a port, TCP and UDP.
func (h *Host) Serve(pid int, executable string, port uint16) *Host {
	for _, p := range []string{"tcp", "udp"} {
		h.report.Listeners = append(h.report.Listeners, discover.Listener{
			Protocol: p, Address: netip.AddrPortFrom(netip.IPv4Unspecified(), port), PID: pid,
		})
	}
	return h.Run(pid, executable)
}

// Link is how connections of a process reach a server.
type Link struct {
	Client   *Host
	PID      int
	Dialled  netip.AddrPort
	Seen     netip.Addr // the client's address as the server sees it; invalid: its own
	Server   *Host      // nil: without a probe
	Port     uint16
	Protocol string // "" is TCP
	// Rewrites: a box in between chooses sequence numbers of its own.
	Rewrites bool
	// Translator reports how it translates, if set.
	Translator *Host
}

// Open is a connection as its ends see it.
type Open struct {
	hosts [2]*Host
	ends  [2]discover.Connection
}

// Repeat has both ends report a connection again, unless they miss that too.
func (w *World) Repeat(o Open) {
	for i, h := range o.hosts {
		if h != nil && w.Rand.Float64() >= w.Drop {
			h.Repeat(o.ends[i])
		}
	}
}

// Connect opens and closes a connection; hold 0 leaves it open.
func (w *World) Connect(l Link, at time.Time, hold time.Duration) Open {
	isn := w.Rand.Uint64() | 1
	c := discover.Connection{
		Protocol: protocol(l), Direction: discover.Outbound, PID: l.PID,
		Local: netip.AddrPortFrom(l.Client.Address, uint16(32768+w.Rand.IntN(28000))), Remote: l.Dialled,
		ISN: isn,
	}
	o := Open{hosts: [2]*Host{l.Client, l.Server}}
	o.ends[0] = w.see(l.Client, c, at, hold)
	if l.Server != nil {
		o.ends[1] = w.accept(l, c, at, hold)
	}
	return o
}

func protocol(l Link) string {
	if l.Protocol == "" {
		return "tcp"
	}
	return l.Protocol
}

// accept is the server's end: half a round trip later.
func (w *World) accept(l Link, c discover.Connection, at time.Time, hold time.Duration) discover.Connection {
	s := c
	s.Direction, s.PID = discover.Inbound, 0
	s.Local = netip.AddrPortFrom(l.Server.Address, l.Port)
	seen := l.Seen
	if !seen.IsValid() {
		seen = l.Client.Address
	}
	s.Remote = netip.AddrPortFrom(seen, c.Local.Port())
	if l.Translator != nil {
		s.Remote = netip.AddrPortFrom(seen, uint16(1024+w.Rand.IntN(60000)))
		l.Translator.report.Translations = append(l.Translator.report.Translations, discover.Translation{
			Protocol: c.Protocol, Source: c.Local, Destination: c.Remote, NewSource: s.Remote, NewDestination: s.Local,
		})
	}
	if l.Rewrites {
		s.ISN = w.Rand.Uint64() | 1
	}
	if hold > 0 {
		hold = max(0, hold+w.jitter()-w.jitter())
	}
	return w.see(l.Server, s, at.Add(w.jitter()), hold)
}

// jitter of a network: mostly under a millisecond or two.
func (w *World) jitter() time.Duration {
	j := w.Rand.ExpFloat64() * 0.001
	if w.Rand.Float64() < 0.01 {
		j += w.Rand.Float64() * 0.1
	}
	return time.Duration(j * float64(time.Second))
}

// see has a host report its end, unless its probe misses it.
func (w *World) see(h *Host, c discover.Connection, at time.Time, hold time.Duration) discover.Connection {
	h.ids++
	c.ID = strconv.Itoa(h.ids)
	c.Opened = at.Add(h.Ahead)
	if hold > 0 {
		c.Closed = c.Opened.Add(hold)
	}
	if w.NoISN || c.Protocol != "tcp" {
		c.ISN = 0
	}
	if !h.Blind && (w.Drop == 0 || w.Rand.Float64() >= w.Drop) {
		h.report.Connections = append(h.report.Connections, c)
	}
	return c
}

// Emit carries out a pattern: to(i) is how its connection i travels.
func (w *World) Emit(h *Host, a discover.Assignment, to func(i int) Link) {
	for i := range a.Delays {
		at := a.Start.Add(-h.Ahead).Add(a.Delays[i])
		l := to(i)
		h.report.Emitted = append(h.report.Emitted, discover.Emission{
			Pattern: a.Pattern, Index: i, Opened: at.Add(h.Ahead), Closed: at.Add(h.Ahead).Add(a.Holds[i]),
		})
		if l.Server == nil {
			continue
		}
		w.accept(l, discover.Connection{
			Protocol: "tcp", Remote: l.Dialled, ISN: w.Rand.Uint64() | 1,
			Local: netip.AddrPortFrom(h.Address, uint16(32768+w.Rand.IntN(28000))),
		}, at, a.Holds[i])
	}
}

// Report takes what a host's probe has seen, as it sends it at a time.
func (h *Host) Report(at time.Time) discover.Report {
	r := h.report
	r.Time = at.Add(h.Ahead)
	h.report = discover.Report{Host: r.Host, Probe: r.Probe, Seq: r.Seq + 1, Source: r.Source}
	if n := len(r.Connections); n > 0 {
		h.report.Connections = make([]discover.Connection, 0, n+n/4+4) // about as many as now
	}
	return r
}

// Repeat has a host report an open connection again.
func (h *Host) Repeat(c discover.Connection) {
	h.report.Connections = append(h.report.Connections, c)
}
