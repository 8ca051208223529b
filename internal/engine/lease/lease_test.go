package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/store"
)

const long = time.Minute

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func leases(t *testing.T, c *bus.Conn) *lease.Leases {
	t.Helper()
	s, err := store.Buckets(within(t, 20*time.Second), c.JS)
	if err != nil {
		t.Fatal(err)
	}
	return lease.New(s.Leases, c.JS)
}

func acquire(t *testing.T, l *lease.Leases, key, owner string, ttl time.Duration) *lease.Lease {
	t.Helper()
	n, err := l.Acquire(within(t, 10*time.Second), key, owner, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func want(t *testing.T, err error, kind droveway.Kind) {
	t.Helper()
	if droveway.KindOf(err) != kind {
		t.Errorf("error %v of kind %q, want %q", err, droveway.KindOf(err), kind)
	}
}

func TestOneOwner(t *testing.T) {
	t.Parallel()
	l := leases(t, bustest.Connect(t))
	ctx := within(t, 20*time.Second)
	first := acquire(t, l, "job.x", "one", long)
	_, err := l.Acquire(ctx, "job.x", "two", long)
	want(t, err, droveway.Conflict)
	_, err = l.Acquire(ctx, "job.x", "one", long) // not even the owner itself, twice
	want(t, err, droveway.Conflict)
	acquire(t, l, "job.y", "two", long)

	for range 3 {
		want(t, first.Renew(ctx), "")
	}
	want(t, first.Release(ctx), "")
	want(t, first.Renew(ctx), droveway.Conflict)
	second := acquire(t, l, "job.x", "two", long)
	if second.Token() <= first.Token() {
		t.Errorf("token %d after %d: it must grow", second.Token(), first.Token())
	}
	want(t, first.Release(ctx), "") // no harm
	want(t, second.Renew(ctx), "")
	_, err = l.Acquire(ctx, "job.z", "one", time.Second/2)
	want(t, err, droveway.Invalid)
}

func TestClaim(t *testing.T) {
	t.Parallel()
	l := leases(t, bustest.Connect(t))
	ctx := within(t, 20*time.Second)
	killed := acquire(t, l, "job.x", "server", long)
	now, err := l.Claim(ctx, "job.x", "server", long)
	if err != nil {
		t.Fatal(err)
	}
	if now.Token() <= killed.Token() {
		t.Errorf("token %d after %d: it must grow", now.Token(), killed.Token())
	}
	want(t, killed.Renew(ctx), droveway.Conflict)
	want(t, now.Renew(ctx), "")
}

// An owner that stops renewing loses the lease, and finds out.
func TestExpiry(t *testing.T) {
	t.Parallel()
	l := leases(t, bustest.Connect(t))
	ctx := within(t, 20*time.Second)
	stopped := acquire(t, l, "job.x", "one", time.Second)
	var next *lease.Lease
	for next == nil {
		n, err := l.Acquire(ctx, "job.x", "two", time.Second)
		if err != nil && !droveway.Is(err, droveway.Conflict) {
			t.Fatal(err)
		}
		next = n
		time.Sleep(20 * time.Millisecond)
	}
	if next.Token() <= stopped.Token() {
		t.Errorf("token %d after %d: it must grow", next.Token(), stopped.Token())
	}
	want(t, stopped.Renew(ctx), droveway.Conflict)
	want(t, stopped.Keep(ctx), droveway.Conflict)
}

func TestKeep(t *testing.T) {
	t.Parallel()
	l := leases(t, bustest.Connect(t))
	n := acquire(t, l, "job.x", "one", time.Second)
	want(t, n.Keep(within(t, 2500*time.Millisecond)), "") // two and a half times its life
	_, err := l.Acquire(t.Context(), "job.x", "two", time.Second)
	want(t, err, droveway.Conflict)
}

// An owner that is cut off stops at the latest when its lease runs out.
func TestKeepCutOff(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c := b.Conn(t)
	n := acquire(t, leases(t, c), "job.x", "one", time.Second)
	b.Stop()
	begun := time.Now()
	want(t, n.Keep(within(t, 10*time.Second)), droveway.Conflict)
	if took := time.Since(begun); took > 1500*time.Millisecond {
		t.Errorf("kept a lease of 1 s for %s without a bus", took)
	}
}

// Tokens grow also over a restart after all leases are gone.
func TestTokenOverRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bustest.StartIn(t, dir, "127.0.0.1:0")
	before := acquire(t, leases(t, b.Conn(t)), "job.x", "one", long)
	want(t, before.Release(within(t, 10*time.Second)), "")
	b.Stop()
	b = bustest.StartIn(t, dir, "127.0.0.1:0")
	after := acquire(t, leases(t, b.Conn(t)), "job.x", "one", long)
	if after.Token() <= before.Token() {
		t.Errorf("token %d after %d: it must grow", after.Token(), before.Token())
	}
}

type news struct {
	Key, Owner string
	Held       bool
}

func TestWatch(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	l := leases(t, b.Conn(t))
	hosts := lease.New(nil, b.Host(t, "a").JS) // may write its lease, and nothing else
	ctx := within(t, 20*time.Second)
	acquire(t, l, "job.x", "server", long) // another prefix
	held := acquire(t, l, "host.b", "b", long)

	var got []news
	done := errors.New("done")
	err := l.Watch(ctx, "host", func(key, owner string, isHeld bool) error {
		got = append(got, news{key, owner, isHeld})
		switch len(got) {
		case 1:
			_, err := hosts.Claim(ctx, "host.a", "a", time.Second) // runs out
			return err
		case 3:
			return held.Release(ctx)
		case 4:
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	if d := cmp.Diff([]news{
		{"host.b", "b", true},
		{"host.a", "a", true},
		{"host.a", "a", false},
		{"host.b", "b", false},
	}, got); d != "" {
		t.Error(d)
	}
}

// What a host writes into its lease that is none makes no one believe it.
func TestWatchNonsense(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	l := leases(t, b.Conn(t))
	ctx := within(t, 20*time.Second)
	a := b.Host(t, "a")
	if _, err := a.JS.Publish(ctx, "$KV.leases.host.a", []byte("for ever")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Host(t, "b").JS.Publish(ctx, "$KV.leases.host.b", []byte("b"), jetstream.WithMsgTTL(time.Minute)); err != nil {
		t.Fatal(err)
	}
	done := errors.New("done")
	err := l.Watch(ctx, "host", func(key, owner string, held bool) error {
		if key != "host.b" || owner != "b" || !held {
			t.Errorf("told %s, %s, %t", key, owner, held)
		}
		return done
	})
	if !errors.Is(err, done) {
		t.Error(err)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	c := bustest.Connect(t)
	l := leases(t, c)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(within(t, 10*time.Second))
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := l.Watch(ctx, "host", nil); !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
	time.AfterFunc(50*time.Millisecond, c.Close)
	want(t, l.Watch(within(t, 10*time.Second), "host", nil), droveway.Unavailable)
}
