package discover

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestLifeTakesEachReportOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		l, taken := &life{}, map[uint64]bool{}
		start := r.Uint64N(1000) + 100
		for i := range uint64(500) {
			seq := start + i/2 + r.Uint64N(30) - min(i/2, r.Uint64N(30))
			fresh := l.take(seq)
			if fresh && taken[seq] {
				t.Fatalf("%d was taken twice", seq)
			}
			if !fresh && !taken[seq] && l.top-seq < lifeWindow {
				t.Fatalf("%d was not taken, the highest is %d", seq, l.top)
			}
			taken[seq] = taken[seq] || fresh
		}
		if want := l.top - l.base - uint64(count(taken)); l.missing() != want {
			t.Errorf("%d are missing, want %d", l.missing(), want)
		}
	}
}

func count(set map[uint64]bool) (n int) {
	for _, on := range set {
		if on {
			n++
		}
	}
	return n
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent[int, string](3)
	var gone []int
	evicted := func(k int, _ string) { gone = append(gone, k) }
	for i := range 4 {
		r.put(i, "x", int64(i), evicted)
	}
	r.put(1, "y", 9, evicted) // touched
	r.put(7, "x", 9, evicted)
	r.remove(3)
	r.expire(9, evicted)
	if len(gone) != 2 || gone[0] != 0 || gone[1] != 2 || len(r.entries) != 2 {
		t.Errorf("gone %v, left %d", gone, len(r.entries))
	}
	if v, ok := r.get(1); !ok || v != "y" {
		t.Error(v, ok)
	}
}

// clocksOf makes clocks with the offsets, known coarsely to 50 ms.
func clocksOf(r *rand.Rand, offsets []time.Duration) *clocks {
	c := newClocks()
	for h, o := range offsets {
		c.grow()
		c.arrived(uint32(h), int64(o), int64(r.IntN(50))*int64(time.Millisecond))
	}
	return c
}

// SYSTEMS 3.5: two hosts that never met know their difference through others,
// and a host that lies shifts nobody.
func TestClocksAreSolved(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const hosts, liar = 60, 59
	var offsets []time.Duration
	for range hosts {
		offsets = append(offsets, time.Duration((r.Float64()-0.5)*float64(10*time.Minute)))
	}
	c := clocksOf(r, offsets)
	for h := range liar {
		for _, o := range []int{(h + 1) % liar, r.IntN(liar), liar} {
			for range 5 {
				late := offsets[o] - offsets[h] + time.Duration(r.ExpFloat64()*float64(time.Millisecond))
				if o == liar {
					late += 1500 * time.Millisecond
				}
				c.matched(uint32(h), uint32(o), 0, int64(late))
			}
		}
	}
	c.solve()
	for range 500 {
		a, b := r.IntN(liar), r.IntN(liar)
		d, width := c.ahead(uint32(a), uint32(b))
		if off := (d - (offsets[b] - offsets[a])).Abs(); off > fineWidth || width != fineWidth {
			t.Errorf("%d and %d: wrong by %v, width %v", a, b, off, width)
		}
	}
}

func TestClocksIgnoreWhatCannotBe(t *testing.T) {
	c := clocksOf(rand.New(rand.NewPCG(1, 1)), []time.Duration{0, time.Minute})
	for range 9 {
		c.matched(0, 1, 0, int64(time.Hour))
	}
	if d, width := c.ahead(0, 1); width != coarseWidth || (d-time.Minute).Abs() > coarseWidth {
		t.Errorf("%v within %v", d, width)
	}
}

// Reports that waited in a spool say nothing of the clock; a clock that was set does.
func TestCoarseClock(t *testing.T) {
	c := newClocks()
	c.grow()
	second := int64(time.Second)
	for i := range int64(20) {
		c.arrived(0, i*10*second, i*10*second+second/100)
	}
	for i := range int64(100) { // the spool of a quarter of an hour
		c.arrived(0, (20+i)*10*second, 1200*second+i*second/50)
	}
	if at := c.ours(0, 0); at != second/100 {
		t.Errorf("after the spool: %v", time.Duration(at))
	}
	for i := range int64(20) { // set back by a minute
		c.arrived(0, (120+i)*10*second-60*second, (120+i)*10*second)
	}
	if at := c.ours(0, 0); at != 60*second {
		t.Errorf("after it was set: %v", time.Duration(at))
	}
}

func TestAProcessReportedLate(t *testing.T) {
	j := New(Limits{})
	conn := func(d Direction, local, remote string) []Connection {
		return []Connection{{
			ID: "1", Protocol: "tcp", Direction: d, ISN: 5, PID: 3, Opened: noon,
			Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
		}}
	}
	named := []Process{{PID: 3, Executable: "/bin/x"}}
	j.Add(Report{Host: "a", Probe: "p", Seq: 1, Time: noon, Connections: conn(Outbound, "10.0.0.1:1", "10.0.0.2:80")}, noon)
	j.Add(Report{Host: "a", Probe: "p", Seq: 2, Time: noon, Processes: named}, noon)
	f := j.Add(Report{Host: "b", Probe: "p", Seq: 1, Time: noon, Processes: named, Connections: conn(Inbound, "10.0.0.2:80", "10.0.0.1:1")}, noon)
	if len(f) != 1 || f[0].Client.Service.Name() != "x" || f[0].Server.Service.Name() != "x" {
		t.Errorf("%+v", f)
	}
	if f[0].Served.String() != "10.0.0.2:80" {
		t.Error(f[0].Served)
	}
}

// SYSTEMS 3.3: a process that is gone before anybody looks is known by the kernel's
// name of it: it is the service of that name, if there is one.
func TestAProcessThatIsGone(t *testing.T) {
	h := New(Limits{}).host("a")
	learn := func(pid int, unit, executable string) Service {
		h.learn(Report{Processes: []Process{{PID: pid, Unit: unit, Executable: executable}}})
		return h.processes[pid]
	}
	web := learn(1, "web.service", "/usr/bin/python3.11")
	if got := learn(2, "", "python3.11"); got != web {
		t.Errorf("%+v instead of %+v", got, web)
	}
	if got := learn(3, "", "perl"); got != (Service{Executable: "perl"}) {
		t.Errorf("nobody else has the name: %+v", got)
	}
	learn(4, "mail.service", "/usr/bin/python3.11")
	if got := learn(5, "", "python3.11"); got != (Service{Executable: "python3.11"}) {
		t.Errorf("two have the name: %+v", got)
	}
	long := learn(6, "", "/usr/lib/a-program-with-a-long-name")
	if got := learn(7, "", "a-program-with-"); got != long {
		t.Errorf("%+v instead of %+v", got, long)
	}
}

// Idle flows and streams leave nothing behind.
func TestEverythingIsForgotten(t *testing.T) {
	j := New(Limits{Idle: time.Hour})
	for i := range 50 {
		seq := uint64(i + 1)
		at := noon.Add(time.Duration(i) * time.Second)
		c := Connection{
			ID: "1", Protocol: "tcp", Direction: Outbound, ISN: seq, Opened: at, Closed: at.Add(time.Second),
			Local: netip.MustParseAddrPort("10.0.0.1:1"), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 80),
		}
		j.Add(Report{Host: "a", Probe: "p", Seq: seq, Time: at, Connections: []Connection{c}}, at)
		if i%2 == 0 {
			c.Direction, c.Local, c.Remote = Inbound, c.Remote, c.Local
		} else {
			c.Direction, c.ISN, c.Local = Inbound, 0, c.Remote
		}
		j.Add(Report{Host: "b", Probe: "p", Seq: seq, Time: at, Connections: []Connection{c}}, at)
	}
	for d := time.Duration(0); d < 3*time.Hour; d += time.Minute {
		j.Advance(noon.Add(d))
	}
	left := j.pending.byISN.size + len(j.pending.held) + len(j.quiet) + len(j.reviews) + len(j.timings) + len(j.ear.slabs) + j.ear.size + len(j.wires.outs.entries)
	for _, h := range j.byID {
		left += len(h.flows) + len(h.streams) + len(h.open.entries) + h.waiting.size
	}
	if left != 0 {
		t.Errorf("%d things are left", left)
	}
}
