package allot

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

var here = Policy{Sites: []string{"home"}}

func synchronised(string) (time.Duration, bool) { return 0, true }

func allotter(t *testing.T, p Policy) *Allotter {
	t.Helper()
	a, err := New(p, rand.New(rand.NewPCG(1, 1)).Uint32)
	if err != nil {
		t.Fatal(err)
	}
	a.began = time.Unix(0, 0) // no other allotter ever ran
	return a
}

func candidate(host, to string) Candidate {
	return Candidate{Host: host, Site: "home", PID: 1, Service: discover.Service{Executable: "/bin/x"}, Destination: netip.MustParseAddrPort(to)}
}

// run calls Next every second and gives all orders.
func run(a *Allotter, d time.Duration) (all []Order) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		a.Advance(time.Now())
		all = append(all, a.Next(time.Now(), synchronised)...)
	}
	return all
}

// SYSTEMS 3.8: the whole fleet opens at most four connections to an endpoint in
// any second, one host one at a time, and it gets through.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, opens := range []int{2, 4} {
			p := here
			p.Opens = opens
			a := allotter(t, p)
			for i := range 40 {
				a.Offer(candidate(fmt.Sprint("h", i), "192.0.2.1:80"), time.Now())
			}
			orders := run(a, 10*time.Minute)
			if len(orders) != 40 {
				t.Errorf("%d of 40 patterns in ten minutes with %d opens a second", len(orders), opens)
			}
			if n := busiest(orders); n > opens {
				t.Errorf("%d opens in a second, %d are allowed", n, opens)
			}
		}
	})
}

// busiest is the most opens in any second.
func busiest(orders []Order) (most int) {
	var all []time.Time
	for _, o := range orders {
		for _, d := range o.Assignment.Delays {
			all = append(all, o.Assignment.Start.Add(d))
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	for i := range all {
		n := 0
		for _, t := range all[i:] {
			if t.Sub(all[i]) < time.Second {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestPatternsAreUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		few := rand.New(rand.NewPCG(1, 1))
		a, err := New(here, func() uint32 { return few.Uint32N(64) })
		if err != nil {
			t.Fatal(err)
		}
		run(a, quiet)
		for i := range 50 {
			a.Offer(candidate(fmt.Sprint("h", i), fmt.Sprintf("192.0.2.%d:80", i+1)), time.Now())
		}
		seen := map[string]bool{}
		for _, o := range run(a, 10*time.Second) {
			if seen[o.Assignment.Pattern] {
				t.Fatal("a pattern was allotted twice")
			}
			seen[o.Assignment.Pattern] = true
		}
		if len(seen) != 50 {
			t.Errorf("%d patterns", len(seen))
		}
	})
}

// SYSTEMS 3.9: what opted out, or never opted in, gets nothing at all.
func TestNothingIsEmitted(t *testing.T) {
	policy := here
	policy.OptOut = []Target{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, {Prefix: netip.MustParsePrefix("198.51.100.1/32"), Port: 443}}
	policy.DenyPorts = []uint16{8443}
	behind := candidate("a", "203.0.113.1:80")
	behind.Behind = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:8080")}
	elsewhere := candidate("a", "203.0.113.1:80")
	elsewhere.Site = "away"
	refused := map[string]Candidate{
		"address": candidate("a", "192.0.2.1:80"), "port of an address": candidate("a", "198.51.100.1:443"),
		"policy's port": candidate("a", "203.0.113.1:8443"), "behind a translator": behind, "site": elsewhere,
		"this host": candidate("a", "127.0.0.1:80"), "all hosts": candidate("a", "224.0.0.1:80"),
	}
	for _, port := range []int{22, 25, 465, 587, 1433, 1521, 3306, 9100} {
		refused[fmt.Sprint("port ", port)] = candidate("a", fmt.Sprint("203.0.113.1:", port))
	}
	for name, c := range refused {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := allotter(t, policy)
				a.Offer(c, time.Now())
				if p := a.Plan(time.Now()); len(p) != 1 || p[0].Refused == "" || p[0].Opens != 0 {
					t.Errorf("plan: %+v", p)
				}
				o := run(a, time.Minute)
				a.Offer(c, time.Now())
				if o = append(o, run(a, time.Minute)...); len(o) != 0 {
					t.Errorf("ordered %+v", o)
				}
				if e := a.Audit(); len(e) != 1 || e[0].Action != Refused || e[0].Why == "" {
					t.Errorf("audit: %+v", e)
				}
			})
		})
	}
	a := allotter(t, policy)
	a.Offer(candidate("a", "198.51.100.1:80"), time.Now())
	if p := a.Plan(time.Now()); p[0].Refused != "" || p[0].Opens != 16 {
		t.Errorf("another port of an address is refused: %+v", p)
	}
	if o := a.Next(time.Now(), synchronised); len(o) != 1 {
		t.Errorf("ordered %+v", o)
	}
}

func TestPolicyCannotExceedTheLimits(t *testing.T) {
	for _, p := range []Policy{{Opens: MaxOpens + 1}, {Opens: -1}, {PerHost: 1000}, {OptOut: []Target{{}}}} {
		if _, err := New(p, rand.Uint32); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestSecondRoundConfirms(t *testing.T) {
	b, c := discover.Served{Host: "b", Port: 80}, discover.Served{Host: "c", Port: 80}
	for name, x := range map[string]struct {
		rounds []discover.Outcome
		want   State
	}{
		"one round":       {[]discover.Outcome{{Matched: true, Servers: []discover.Served{b}}}, Matched},
		"two that agree":  {[]discover.Outcome{{Matched: true, Servers: []discover.Served{b}}, {Matched: true, Servers: []discover.Served{c, b}}}, Confirmed},
		"two that do not": {[]discover.Outcome{{Matched: true, Servers: []discover.Served{b}}, {Matched: true, Servers: []discover.Served{c}}}, Waiting},
		"not heard once":  {[]discover.Outcome{{}, {Matched: true, Servers: []discover.Served{b}}, {Matched: true, Servers: []discover.Served{b}}}, Confirmed},
		"never heard":     {make([]discover.Outcome, maxRounds), Silent},
		"ambiguous":       {[]discover.Outcome{{}, {}, {}, {Ambiguous: true}}, Ambiguous},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, k := allotter(t, here), candidate("a", "192.0.2.1:80")
				a.Offer(k, time.Now())
				for _, out := range x.rounds {
					orders := run(a, 30*time.Second)
					if len(orders) != 1 {
						t.Fatalf("%d orders", len(orders))
					}
					out.Pattern = orders[0].Assignment.Pattern
					a.Emitted("a", []discover.Emission{{Pattern: out.Pattern}}, time.Now())
					if s, _ := a.State(k); s != Emitted {
						t.Fatal(s)
					}
					a.Outcome(out, time.Now())
				}
				if s, _ := a.State(k); s != x.want {
					t.Errorf("state %s, want %s", s, x.want)
				}
			})
		})
	}
}

// The first refusal stops everybody who probes that endpoint, at once and for long.
func TestStopsAtTheFirstRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := allotter(t, here)
		for i := range 20 {
			a.Offer(candidate(fmt.Sprint("h", i), "192.0.2.1:80"), time.Now())
		}
		orders := run(a, 8*time.Second)
		forged := a.Emitted("evil", []discover.Emission{{Pattern: orders[0].Assignment.Pattern, Error: "refused"}}, time.Now())
		if len(forged) != 0 {
			t.Fatal("another host's word stopped a pattern")
		}
		cancels := a.Emitted(orders[0].Host, []discover.Emission{{Pattern: orders[0].Assignment.Pattern, Error: "refused"}}, time.Now())
		if len(cancels) != len(orders) {
			t.Errorf("%d of %d patterns were stopped", len(cancels), len(orders))
		}
		if more := run(a, 30*time.Minute); len(more) != 0 {
			t.Errorf("%d patterns after the refusal", len(more))
		}
	})
}

func TestOptingOutStopsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := allotter(t, here)
		a.Offer(candidate("a", "192.0.2.1:80"), time.Now())
		a.Offer(candidate("a", "192.0.2.2:80"), time.Now())
		run(a, 3*time.Second)
		p := here
		p.OptOut = []Target{{Prefix: netip.MustParsePrefix("192.0.2.1/32")}}
		cancels, err := a.SetPolicy(p, time.Now())
		if err != nil || len(cancels) != 1 {
			t.Errorf("%v, %v", cancels, err)
		}
	})
}

// What its host does not contact any more is forgotten; a result is renewed.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, k := allotter(t, here), candidate("a", "192.0.2.1:80")
		a.Offer(k, time.Now())
		orders := run(a, 5*time.Second)
		if e := orders[0].Assignment.Expires.Sub(orders[0].Assignment.Start); e > time.Minute {
			t.Errorf("may be emitted for %v", e)
		}
		for range maxRounds { // no report ever comes
			run(a, 17*time.Minute)
			a.Offer(k, time.Now())
		}
		if s, _ := a.State(k); s != Silent {
			t.Errorf("state %s", s)
		}
		for range 50 {
			time.Sleep(30 * time.Minute)
			a.Offer(k, time.Now())
			a.Advance(time.Now())
		}
		if s, _ := a.State(k); s == Silent {
			t.Error("is not tried again after a day")
		}
		run(a, 3*time.Hour)
		if s, ok := a.State(k); ok {
			t.Errorf("state %s of what nobody contacts", s)
		}
		if n := len(a.endpoints) + len(a.live) + len(a.busy); n != 0 {
			t.Errorf("%d things are left over", n)
		}
	})
}

// An assignment speaks in the probe's own time.
func TestStartsByTheProbesClock(t *testing.T) {
	a := allotter(t, here)
	now := time.Unix(1e9, 0)
	a.Offer(candidate("a", "192.0.2.1:80"), now)
	if o := a.Next(now, func(string) (time.Duration, bool) { return 0, false }); len(o) != 0 {
		t.Error("a host whose clock is not known got an order")
	}
	o := a.Next(now, func(string) (time.Duration, bool) { return 5 * time.Minute, true })
	if len(o) != 1 || cmp.Compare(o[0].Assignment.Start.Sub(now), 5*time.Minute+Lead) != 0 {
		t.Errorf("%+v", o)
	}
}

// A host whose probe does not emit patterns holds nothing up: neither its own other
// patterns nor the endpoint, and it is asked again when it is offered again.
func TestDeclined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := allotter(t, here)
		passive, active := candidate("passive", "192.0.2.1:80"), candidate("active", "192.0.2.1:80")
		a.Offer(passive, time.Now())
		o := run(a, time.Second)
		if len(o) != 1 {
			t.Fatalf("orders: %+v", o)
		}
		a.Declined(o[0].Assignment.Pattern, "it is passive", time.Now())
		a.Declined(o[0].Assignment.Pattern, "it is passive", time.Now())
		if s, _ := a.State(passive); s != Waiting || len(a.live) != 0 || len(a.busy) != 0 {
			t.Errorf("state %s, %d live, %d busy", s, len(a.live), len(a.busy))
		}
		if p := a.Plan(time.Now()); len(p) != 1 || p[0].Opens != 0 || p[0].Refused != "its probe does not take part: it is passive" {
			t.Errorf("plan: %+v", p)
		}
		a.Offer(active, time.Now())
		if o := run(a, 30*time.Second); len(o) != 1 || o[0].Host != "active" {
			t.Errorf("orders after the refusal: %+v", o)
		}
		a.Offer(passive, time.Now())
		if o := run(a, 30*time.Second); len(o) != 1 || o[0].Host != "passive" {
			t.Errorf("orders after it is offered again: %+v", o)
		}
	})
}

// Patterns ordered before a restart count, though nobody knows them any more,
// and so does a refusal.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := allotter(t, here)
		for i := range 8 {
			a.Offer(candidate(fmt.Sprint("h", i), "192.0.2.1:80"), time.Now())
		}
		a.Offer(candidate("a", "192.0.2.2:80"), time.Now())
		orders := run(a, 3*time.Second)
		for _, o := range orders {
			if o.Host == "a" {
				a.Emitted("a", []discover.Emission{{Pattern: o.Assignment.Pattern, Error: "timed out"}}, time.Now())
			}
		}
		b, err := New(here, rand.Uint32)
		if err != nil {
			t.Fatal(err)
		}
		results, changed := a.Results()
		if !changed {
			t.Error("a refusal is no new result")
		}
		if again, changed := a.Results(); changed || again != nil {
			t.Error("the same results are given twice")
		}
		b.Restore(results, time.Now())
		for i := range 8 {
			b.Offer(candidate(fmt.Sprint("h", i), "192.0.2.1:80"), time.Now())
		}
		b.Offer(candidate("other", "192.0.2.2:80"), time.Now())
		orders = slices.DeleteFunc(append(orders, run(b, 10*time.Minute)...), func(o Order) bool { return o.Host == "a" })
		if n := busiest(orders); n > MaxOpens {
			t.Errorf("%d opens in a second", n)
		}
		for _, o := range orders {
			if o.Assignment.Destination == netip.MustParseAddrPort("192.0.2.2:80") {
				t.Error("an endpoint that refused is asked again after a restart")
			}
		}
	})
}
