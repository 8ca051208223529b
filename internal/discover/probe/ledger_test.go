package probe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/emit"
)

var (
	client = netip.MustParseAddrPort("10.0.0.1:5000")
	served = netip.MustParseAddrPort("10.0.0.2:80")
	start  = time.Unix(1_700_000_000, 0)
)

func opened(socket uint64, outbound bool, pid int) capture.Event {
	e := capture.Event{Kind: capture.Opened, Key: capture.Key{Namespace: 1, Socket: socket}, Time: start, Outbound: outbound, Local: client, Remote: served, PID: pid, ISN: 7}
	if !outbound {
		e.Local, e.Remote = served, client
	}
	return e
}

func closing(socket uint64, kind capture.Kind, pid int) capture.Event {
	return capture.Event{Kind: kind, Key: capture.Key{Namespace: 1, Socket: socket}, Time: start.Add(time.Second), PID: pid}
}

func ledgerOf(events ...capture.Event) *ledger {
	l := newLedger(newServices())
	for _, e := range events {
		l.take(e)
	}
	return l
}

func drained(l *ledger) []discover.Connection { return l.drain(maxPending, start) }

func TestShortConnectionIsOneEntry(t *testing.T) {
	t.Parallel()
	l := ledgerOf(opened(9, true, 42), closing(9, capture.Closed, 42))
	got := drained(l)
	want := discover.Connection{
		ID: "1", Protocol: "tcp", Direction: discover.Outbound, Local: client, Remote: served,
		Opened: start, Closed: start.Add(time.Second), PID: 42, ISN: 7,
	}
	if len(got) != 1 || got[0] != want || len(l.open)+len(l.sockets) != 0 {
		t.Errorf("%+v, %d open", got, len(l.open))
	}
}

func TestLaterNewsHasTheSameID(t *testing.T) {
	t.Parallel()
	l := ledgerOf(opened(9, true, 42))
	first := drained(l)
	l.take(closing(9, capture.Closed, 0))
	second := drained(l)
	if len(first) != 1 || len(second) != 1 || first[0].ID != second[0].ID || !first[0].Closed.IsZero() || second[0].Closed.IsZero() {
		t.Errorf("%+v\n%+v", first, second)
	}
}

// Who accepts is known from the listener, or from who lets go at the end.
func TestInboundProcess(t *testing.T) {
	t.Parallel()
	listening := capture.Event{Kind: capture.Listening, Key: capture.Key{Namespace: 1}, Local: netip.MustParseAddrPort("[::]:80"), PID: 77}
	elsewhere := listening
	elsewhere.Key.Namespace, elsewhere.PID = 2, 78
	if got := drained(ledgerOf(elsewhere, listening, opened(9, false, 0))); got[0].PID != 77 {
		t.Errorf("%+v", got)
	}
	l := ledgerOf(elsewhere, opened(9, false, 0), closing(9, capture.Closed, 0))
	if got := drained(l); got[0].PID != 0 || got[0].Closed.IsZero() {
		t.Errorf("%+v", got)
	}
	l.take(closing(9, capture.Released, 79))
	if got := drained(l); len(got) != 1 || got[0].PID != 79 || got[0].Closed != start.Add(time.Second) || len(l.open) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSocketIsUsedAgain(t *testing.T) {
	t.Parallel()
	again := opened(9, true, 42)
	again.ISN, again.Time = 8, start.Add(time.Minute)
	got := drained(ledgerOf(opened(9, true, 42), opened(9, true, 42), again))
	if len(got) != 2 || got[0].Closed.IsZero() || !got[1].Closed.IsZero() {
		t.Errorf("%+v", got)
	}
}

// The end of a connection comes late, when a survey saw the next one in the same
// memory already.
func TestLateEnd(t *testing.T) {
	t.Parallel()
	l := newLedger(newServices())
	next := sight(netip.MustParseAddrPort("10.0.0.1:6000"), served, false, 2)
	l.merge([]sighting{next}, nil, nil)
	late := closing(next.socket, capture.Closed, 42)
	late.Local, late.Remote = client, served
	l.take(late)
	if got := drained(l); len(got) != 1 || !got[0].Closed.IsZero() || got[0].PID != 0 {
		t.Errorf("%+v", got)
	}
	late.Local = netip.AddrPort{} // a reset: which it was cannot be told
	l.take(late)
	if got := drained(l); len(got) != 1 || got[0].Closed.IsZero() {
		t.Errorf("%+v", got)
	}
}

// A survey may have seen what ends before all of it is known.
func TestEndDuringSurvey(t *testing.T) {
	t.Parallel()
	l := ledgerOf(opened(9, true, 42))
	l.surveying()
	l.take(closing(9, capture.Closed, 42))
	l.merge([]sighting{sight(client, served, false, 2)}, nil, nil)
	if got := drained(l); len(got) != 1 || got[0].Closed.IsZero() || len(l.open) != 0 {
		t.Errorf("%+v", got)
	}
	l.merge([]sighting{sight(client, served, false, 2)}, nil, nil) // another one, by then
	if got := drained(l); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestClockThatWasSet(t *testing.T) {
	t.Parallel()
	early := closing(9, capture.Closed, 42)
	early.Time = start.Add(-time.Hour)
	if got := drained(ledgerOf(opened(9, true, 42), early)); got[0].Closed.Before(got[0].Opened) {
		t.Errorf("%+v", got)
	}
}

// A probe leaves out the connections that it opens for patterns, but not their
// other ends.
func TestPatternsAreLeftOut(t *testing.T) {
	t.Parallel()
	l := newLedger(newServices())
	l.claim(emit.Claim{Namespace: 1, Port: client.Port(), To: served})
	l.take(opened(9, true, 42))
	if got := drained(l); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	l.take(opened(10, false, 0))
	if got := drained(l); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// The times of a pattern are those of the source, if it told both.
func TestPatternsAreMeasured(t *testing.T) {
	t.Parallel()
	own := discover.Emission{Opened: start.Add(time.Minute), Closed: start.Add(2 * time.Minute)}
	mine := emit.Claim{Namespace: 1, Port: client.Port(), To: served}
	end := closing(9, capture.Closed, 42)
	end.Local, end.Remote = client, served
	l := newLedger(newServices())
	l.claim(mine)
	l.take(opened(9, true, 42))
	if got := l.measured(own, mine); got != own {
		t.Errorf("before its end: %+v", got)
	}
	l.take(end)
	if got := l.measured(own, mine); !got.Opened.Equal(start) || !got.Closed.Equal(end.Time) {
		t.Errorf("after its end: %+v", got)
	}
	if got := l.measured(own, emit.Claim{}); got != own {
		t.Errorf("without a claim: %+v", got)
	}
}

func TestContacts(t *testing.T) {
	t.Parallel()
	l := ledgerOf(opened(9, true, 42))
	if !l.contacted(served) || l.contacted(client) {
		t.Error("only those that the host talks to are contacts")
	}
}

func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	l := newLedger(newServices())
	for i := range maxOpen + 5 {
		e := opened(uint64(i+1), true, 1)
		e.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(i&255+1))
		l.take(e)
	}
	if n := len(drained(l)); n != maxPending || len(l.open) != maxOpen {
		t.Errorf("%d pending, %d open", n, len(l.open))
	}
	if lost := l.takeLost(); lost != maxOpen-maxPending+5 {
		t.Errorf("lost %d", lost)
	}
	l.repeat(start.Add(discover.Repeat)) // what is open is told later
	if n := len(drained(l)); n != maxPending {
		t.Errorf("%d repeated", n)
	}
}

func sight(local, remote netip.AddrPort, listening bool, inode uint64) sighting {
	return sighting{
		tuple: tuple{"tcp", 1, local, remote}, socket: inode + 100, inode: inode, listening: listening,
		isn: func(outbound bool) uint64 { return map[bool]uint64{true: 11, false: 22}[outbound] },
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	l := newLedger(newServices())
	any4 := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	other := netip.MustParseAddrPort("10.0.0.1:6000")
	all := []sighting{
		sight(served, client, false, 1), sight(other, served, false, 2),
		sight(netip.AddrPortFrom(netip.IPv4Unspecified(), 80), any4, true, 3),
	}
	walked := map[uint32]bool{1: true}
	l.merge(all, map[uint64]int{1: 51, 2: 52, 3: 53}, walked)
	got := drained(l)
	if len(got) != 2 || got[0].Direction != discover.Inbound || got[0].ISN != 22 || got[0].PID != 53 && got[0].PID != 51 ||
		got[1].Direction != discover.Outbound || got[1].ISN != 11 || got[1].PID != 52 || !got[1].Opened.IsZero() {
		t.Errorf("%+v", got)
	}
	if found := l.listeners(10, start); len(found) != 1 || found[0].PID != 53 {
		t.Errorf("%+v", found)
	}
	l.take(closing(102, capture.Closed, 52)) // the source takes over
	if got := drained(l); len(got) != 1 || got[0].PID != 52 || got[0].Closed.IsZero() {
		t.Errorf("%+v", got)
	}
	for range goneAfter {
		l.merge(nil, nil, map[uint32]bool{})
	}
	if len(l.open) != 1 {
		t.Error("a namespace that nobody looked at has lost its connections")
	}
	l.merge(nil, nil, walked)
	if len(l.open) != 0 || len(l.services.all) != 0 || len(drained(l)) != 0 {
		t.Errorf("%d open, %d services", len(l.open), len(l.services.all))
	}
}

// Whoever served before, a listener that somebody unknown began is not theirs, nor
// one that they were seen to hold and do not any more.
func TestListenerOfStranger(t *testing.T) {
	t.Parallel()
	l := newLedger(newServices())
	at := netip.AddrPortFrom(netip.IPv4Unspecified(), 80)
	listening := capture.Event{Kind: capture.Listening, Key: capture.Key{Namespace: 1}, Local: at, PID: 77}
	survey := func(owners map[uint64]int) {
		l.merge([]sighting{sight(at, netip.AddrPort{}, true, 3)}, owners, map[uint32]bool{1: true})
	}
	now := start
	serves := func(want int) {
		t.Helper()
		if found := l.listeners(10, now); len(found) != 1 || found[0].PID != want {
			t.Errorf("%+v instead of %d", found, want)
		}
		now = now.Add(discover.Repeat)
	}
	l.take(listening)
	survey(nil) // its sockets are hidden
	serves(77)
	survey(map[uint64]int{3: 78})
	serves(78)
	survey(nil)
	serves(0)
	l.take(listening)
	serves(77)
	listening.PID = 0
	l.take(listening)
	serves(0)
}
