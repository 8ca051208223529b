package discover

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/droveway/droveway"
)

// What a report may hold. A probe with more to say sends several.
const (
	MaxReport       = 1 << 20 // bytes: what the bus carries in one message
	MaxConnections  = 16384
	MaxTranslations = 16384
	MaxProcesses    = 8192
	MaxListeners    = 8192
	MaxEmissions    = 1024
	MaxAddresses    = 1024
	maxText         = 512 // bytes of one string
	maxDisk         = 1 << 60
)

// A clock outside these years is not a clock.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Decode reads the report that the probe of the authenticated host sent.
// Anything wrong with it is an Invalid error, a report about another host a
// Permission error; nothing of such a report may be used.
func Decode(host string, b []byte) (Report, error) {
	if len(b) > MaxReport {
		return Report{}, droveway.Errorf(droveway.Invalid, "report of host %q has %d bytes: at most %d, send several", host, len(b), MaxReport)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, droveway.Errorf(droveway.Invalid, "report of host %q is no JSON report: %w", host, err)
	}
	if r.Host != host {
		return Report{}, droveway.Errorf(droveway.Permission, "host %q sent a report about host %.80q: a probe reports its own host alone", host, r.Host)
	}
	if what := r.wrong(); what != "" {
		return Report{}, droveway.Errorf(droveway.Invalid, "report %d of host %q: %s", r.Seq, host, what)
	}
	r.normalise()
	return r, nil
}

// wrong says what is wrong with a report, or nothing.
func (r *Report) wrong() string {
	switch {
	case r.Probe == "" || !readable(r.Probe) || !readable(r.Source):
		return "name of the probe or of its source is missing, too long or not readable"
	case r.Seq == 0:
		return "reports are numbered from 1"
	case !plausible(r.Time):
		return "time of the report is missing or absurd"
	case r.DiskBytes < 0 || r.DiskBytes > maxDisk:
		return "what the disks hold is absurd"
	case len(r.Connections) > MaxConnections || len(r.Translations) > MaxTranslations ||
		len(r.Processes) > MaxProcesses || len(r.Listeners) > MaxListeners ||
		len(r.Emitted) > MaxEmissions || len(r.Addresses) > MaxAddresses:
		return "too many entries: send several reports"
	}
	return firstWrong(
		func() string { return check(r.Processes, wrongProcess) },
		func() string { return check(r.Listeners, wrongListener) },
		func() string { return check(r.Connections, wrongConnection) },
		func() string { return check(r.Translations, wrongTranslation) },
		func() string { return check(r.Emitted, wrongEmission) },
	)
}

func firstWrong(checks ...func() string) string {
	for _, c := range checks {
		if what := c(); what != "" {
			return what
		}
	}
	return ""
}

func check[T any](all []T, wrong func(*T) string) string {
	for i := range all {
		if what := wrong(&all[i]); what != "" {
			return what
		}
	}
	return ""
}

func wrongProcess(p *Process) string {
	if p.PID <= 0 {
		return "a process has no process id"
	}
	for _, s := range []string{p.Executable, p.Unit, p.Container, p.Package, p.Version} {
		if !readable(s) {
			return "a text of a process is too long or not readable"
		}
	}
	return ""
}

func wrongListener(l *Listener) string {
	switch {
	case !transport(l.Protocol):
		return "protocol of a listener is neither tcp nor udp"
	case !l.Address.IsValid() || l.Address.Port() == 0 || l.PID < 0:
		return "a listener has no address, port or process id"
	}
	return ""
}

func wrongConnection(c *Connection) string {
	switch {
	case c.ID == "" || len(c.ID) > maxText:
		return "ID of a connection is missing or too long"
	case !transport(c.Protocol):
		return "protocol of a connection is neither tcp nor udp"
	case c.Direction != Outbound && c.Direction != Inbound:
		return "direction of a connection is neither in nor out"
	case !c.Local.IsValid() || !c.Remote.IsValid() || c.PID < 0:
		return "a connection has no address or a negative process id"
	}
	return wrongSpan(c.Opened, c.Closed)
}

func wrongTranslation(t *Translation) string {
	switch {
	case !transport(t.Protocol):
		return "protocol of a translation is neither tcp nor udp"
	case !t.Source.IsValid() || !t.Destination.IsValid() || !t.NewSource.IsValid() || !t.NewDestination.IsValid():
		return "a translation has no address"
	}
	return ""
}

func wrongEmission(e *Emission) string {
	switch {
	case e.Pattern == "" || !readable(e.Pattern) || !readable(e.Error):
		return "a text of an emission is missing, too long or not readable"
	case !plausible(e.Opened):
		return "an emission has no time"
	}
	return wrongSpan(e.Opened, e.Closed)
}

func wrongSpan(opened, closed time.Time) string {
	switch {
	case !opened.IsZero() && !plausible(opened), !closed.IsZero() && !plausible(closed):
		return "time of a connection is absurd"
	case !opened.IsZero() && !closed.IsZero() && closed.Before(opened):
		return "a connection closes before it opens"
	}
	return ""
}

// readable reports whether a text can be shown to people: on a terminal, control
// characters would be commands.
func readable(s string) bool {
	return len(s) <= maxText && strings.IndexFunc(s, unicode.IsControl) < 0
}

func transport(p string) bool    { return p == "tcp" || p == "udp" }
func plausible(t time.Time) bool { return t.After(earliest) && t.Before(latest) }
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// normalise writes an IPv4 address in one way alone: a dual-stack socket shows
// it mapped into IPv6.
func (r *Report) normalise() {
	for i := range r.Addresses {
		r.Addresses[i] = r.Addresses[i].Unmap().WithZone("")
	}
	for i := range r.Listeners {
		r.Listeners[i].Address = plain(r.Listeners[i].Address)
	}
	for i := range r.Connections {
		c := &r.Connections[i]
		c.Local, c.Remote = plain(c.Local), plain(c.Remote)
	}
	for i := range r.Translations {
		t := &r.Translations[i]
		t.Source, t.Destination = plain(t.Source), plain(t.Destination)
		t.NewSource, t.NewDestination = plain(t.NewSource), plain(t.NewDestination)
	}
}
