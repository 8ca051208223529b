package emit

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is an emitter that runs, and what it emitted.
type bed struct {
	*Emitter
	emitted chan discover.Emission
	stop    func()

	mu     sync.Mutex
	claims []netip.AddrPort
	audit  strings.Builder
}

func (b *bed) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.audit.Write(p)
}

func (b *bed) claimed() []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.claims)
}

func run(t *testing.T, optOut ...Target) *bed {
	b := &bed{emitted: make(chan discover.Emission, 100)}
	b.Emitter = New(Config{
		Proc: "/proc", Allow: true, OptOut: optOut, Log: slog.New(slog.NewTextHandler(b, nil)),
		Contacted: func(d netip.AddrPort) bool { return d.Port() != 1 },
		Claim: func(c Claim) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.claims = append(b.claims, netip.AddrPortFrom(netip.IPv4Unspecified(), c.Port))
		},
		Emitted: func(e discover.Emission, _ Claim) { b.emitted <- e },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Run(ctx) // returns nil alone
	}()
	b.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(b.stop)
	return b
}

// accepted is a connection as a server saw it: first that it is open, then the
// rest.
type accepted struct {
	port  uint16
	bytes int
	err   error
	held  time.Duration
}

// listen serves with a greeting and tells of each connection.
func listen(t *testing.T, greeting string) (netip.AddrPort, chan accepted) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan accepted, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			at := time.Now()
			all <- accepted{}
			_, _ = io.WriteString(c, greeting) // the read below tells
			b, err := io.ReadAll(c)
			all <- accepted{uint16(c.RemoteAddr().(*net.TCPAddr).Port), len(b), err, time.Since(at)}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return netip.MustParseAddrPort(ln.Addr().String()), all
}

func assignment(to netip.AddrPort, delays ...time.Duration) discover.Assignment {
	now := time.Now()
	a := discover.Assignment{Pattern: "p1", Destination: to, PID: os.Getpid(), Start: now, Delays: delays, Expires: now.Add(time.Minute)}
	for range delays {
		a.Holds = append(a.Holds, 60*time.Millisecond)
	}
	return a
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, greeting := range []string{"", "220 mail.example.org\r\n"} {
		to, all := listen(t, greeting)
		b := run(t)
		if err := b.Assign(assignment(to, 0, 300*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if err := b.Assign(assignment(to, 0)); !droveway.Is(err, droveway.Conflict) {
			t.Errorf("two patterns to one destination: %v", err)
		}
		for i := range 2 {
			<-all // opened
			e, got, claimed := <-b.emitted, <-all, b.claimed()
			if e.Index != i || e.Error != "" || e.Closed.Sub(e.Opened) < 60*time.Millisecond {
				t.Errorf("%+v", e)
			}
			if got.bytes != 0 || got.err != nil || got.held < 55*time.Millisecond || claimed[i].Port() != got.port {
				t.Errorf("%+v, claimed %v", got, claimed)
			}
		}
		b.stop()
		if n := strings.Count(b.audit.String(), "pattern connection"); n != 2 {
			t.Errorf("audit has %d connections:\n%s", n, b.audit.String())
		}
	}
}

// A probe that is late, as its machine stood still, opens no more a second than it
// was told to.
func TestLateDoesNotCatchUp(t *testing.T) {
	t.Parallel()
	to, all := listen(t, "")
	b := run(t)
	a := assignment(to, 0, 500*time.Millisecond, time.Second)
	a.Start = a.Start.Add(-2 * time.Second)
	if err := b.Assign(a); err != nil {
		t.Fatal(err)
	}
	var opened []time.Time
	for range a.Delays {
		<-all
		<-all
		opened = append(opened, (<-b.emitted).Opened)
	}
	for i := range len(opened) - 1 {
		if gap := opened[i+1].Sub(opened[i]); gap < 490*time.Millisecond {
			t.Errorf("%s between connections that were to be 500 ms apart", gap)
		}
	}
}

func TestStopsWhenRefused(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	b := run(t)
	if err := b.Assign(assignment(to, 0, 250*time.Millisecond, 500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if e := <-b.emitted; e.Error != "reset by the other end" || !e.Closed.IsZero() {
		t.Errorf("%+v", e)
	}
	time.Sleep(300 * time.Millisecond) // nothing more comes
	if len(b.emitted) != 0 || len(b.claimed()) != 1 {
		t.Errorf("%d more", len(b.emitted))
	}
	if err := b.Assign(assignment(to, 0)); err != nil {
		t.Errorf("the destination is not free again: %v", err)
	}
	<-b.emitted
}

// SYSTEMS 3.9: what is opted out is never opened.
func TestRefuses(t *testing.T) {
	t.Parallel()
	b := run(t, Target{Addresses: netip.MustParsePrefix("192.0.2.0/24")}, Target{netip.MustParsePrefix("::1/128"), 443})
	good := assignment(netip.MustParseAddrPort("127.0.0.1:80"), 0, 250*time.Millisecond)
	with := func(change func(*discover.Assignment)) discover.Assignment {
		a := good
		a.Delays, a.Holds = append([]time.Duration{}, a.Delays...), append([]time.Duration{}, a.Holds...)
		change(&a)
		return a
	}
	to := func(s string) discover.Assignment {
		return with(func(a *discover.Assignment) { a.Destination = netip.MustParseAddrPort(s) })
	}
	tests := []struct {
		name string
		a    discover.Assignment
		kind droveway.Kind
	}{
		{"opted out", to("192.0.2.7:80"), droveway.Permission},
		{"opted out, written as IPv6", to("[::ffff:192.0.2.7]:80"), droveway.Permission},
		{"opted out port", to("[::1]:443"), droveway.Permission},
		{"never contacted", to("127.0.0.1:1"), droveway.Permission},
		{"no destination", with(func(a *discover.Assignment) { a.Destination = netip.AddrPort{} }), droveway.Invalid},
		{"everybody", to("224.0.0.1:80"), droveway.Invalid},
		{"no process", with(func(a *discover.Assignment) { a.PID = 0 }), droveway.Invalid},
		{"no name", with(func(a *discover.Assignment) { a.Pattern = "" }), droveway.Invalid},
		{"no connections", with(func(a *discover.Assignment) { a.Delays, a.Holds = nil, nil }), droveway.Invalid},
		{"one hold too few", with(func(a *discover.Assignment) { a.Holds = a.Holds[1:] }), droveway.Invalid},
		{"too fast", with(func(a *discover.Assignment) { a.Delays[1] = 249 * time.Millisecond }), droveway.Invalid},
		{"held too long", with(func(a *discover.Assignment) { a.Holds[0] = 341 * time.Millisecond }), droveway.Invalid},
		{"backwards", with(func(a *discover.Assignment) { a.Delays[0] = time.Second }), droveway.Invalid},
		{"too long", with(func(a *discover.Assignment) { a.Delays[1] = time.Hour }), droveway.Invalid},
		{"too far ahead", with(func(a *discover.Assignment) { a.Start = a.Start.Add(2 * time.Hour) }), droveway.Invalid},
		{"expired", with(func(a *discover.Assignment) { a.Expires = time.Now() }), droveway.Invalid},
		{"too many", with(func(a *discover.Assignment) {
			a.Delays, a.Holds = nil, nil
			for i := range maxOpens + 1 {
				a.Delays, a.Holds = append(a.Delays, time.Duration(i)*time.Second), append(a.Holds, 0)
			}
		}), droveway.Invalid},
	}
	for _, port := range Denied() {
		tests = append(tests, struct {
			name string
			a    discover.Assignment
			kind droveway.Kind
		}{"denied port", with(func(a *discover.Assignment) { a.Destination = netip.AddrPortFrom(a.Destination.Addr(), port) }), droveway.Permission})
	}
	for _, tt := range tests {
		if err := b.Assign(tt.a); !droveway.Is(err, tt.kind) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	b.config.Allow = false
	if err := b.Assign(good); !droveway.Is(err, droveway.Permission) {
		t.Errorf("switched off: %v", err)
	}
	b.stop()
	if len(b.claimed()) != 0 {
		t.Error("something was opened")
	}
	if n := strings.Count(b.audit.String(), "pattern refused"); n != len(tests)+1 {
		t.Errorf("audit has %d refusals of %d", n, len(tests)+1)
	}
}

func TestProcessHasEnded(t *testing.T) {
	t.Parallel()
	b := run(t)
	a := assignment(netip.MustParseAddrPort("127.0.0.1:80"), 0)
	a.PID = 1 << 30
	if err := b.Assign(a); err != nil {
		t.Fatal(err)
	}
	if e := <-b.emitted; e.Error != "the process has ended" {
		t.Errorf("%+v", e)
	}
}

// A probe that ends mid-pattern closes what is open, and says so.
func TestEndsMidPattern(t *testing.T) {
	t.Parallel()
	to, all := listen(t, "")
	b := run(t)
	a := assignment(to, 0, time.Second)
	a.Holds[0] = maxHold
	if err := b.Assign(a); err != nil {
		t.Fatal(err)
	}
	<-all // opened
	b.stop()
	if got := <-all; got.err != nil || got.held > maxHold {
		t.Errorf("%+v", got)
	}
	if e := <-b.emitted; e.Closed.IsZero() || len(b.emitted) != 0 {
		t.Errorf("%+v", e)
	}
}

// A pattern that is called off opens nothing more, and its destination is free
// for another one.
func TestCancel(t *testing.T) {
	t.Parallel()
	to, all := listen(t, "")
	b := run(t)
	a := assignment(to, 0, 30*time.Second)
	if err := b.Assign(a); err != nil {
		t.Fatal(err)
	}
	<-all // opened
	<-b.emitted
	b.Cancel("another")
	b.Cancel(a.Pattern)
	next := assignment(to, 0)
	next.Pattern = "p2"
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := b.Assign(next)
		if err == nil {
			break
		}
		if !droveway.Is(err, droveway.Conflict) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if e := <-b.emitted; e.Pattern != "p2" {
		t.Errorf("emitted %+v", e)
	}
	b.Cancel(a.Pattern) // over
}
