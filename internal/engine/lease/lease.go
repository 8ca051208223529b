// Package lease gives a key to one owner at a time, for a while that the owner
// keeps extending, with a token that only grows: whoever acts under a lease
// passes its token along, and whoever is acted upon refuses an older one.
//
// It may touch the bucket of leases and nothing else. A lease is a key of NATS
// JetStream with a time to live of its own (ADR-43); its token is the revision
// at which it was taken.
//
//	free ──Acquire──▶ held ──Renew──▶ held
//	  ▲                │
//	  └── Release or time to live over
package lease

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

const (
	// The bus counts times to live in whole seconds.
	leastTTL = time.Second

	// markerLife is how long the end of a lease is remembered for watchers
	// that were cut off.
	markerLife = time.Hour
)

// Leases are the leases of one bucket.
type Leases struct {
	kv jetstream.KeyValue
	js jetstream.JetStream
}

// New makes Leases. kv may be nil where the bus lets its user write keys but not
// read them, as on a host; then only Claim and what it returns can be used.
func New(kv jetstream.KeyValue, js jetstream.JetStream) *Leases { return &Leases{kv: kv, js: js} }

// Lease is a key held. Its methods may be called at the same time.
type Lease struct {
	leases *Leases
	key    string
	value  entry
	ttl    time.Duration
	token  uint64

	mu      sync.Mutex
	rev     uint64
	expires time.Time // by our clock; never later than by that of the bus
}

// entry is what the key holds. ID tells one Lease from another of the same
// owner.
type entry struct {
	Owner string `json:"owner"`
	ID    string `json:"id"`
}

// Acquire takes a lease that is free. While another holds it, be it of the same
// owner, the error is of kind Conflict. ttl is in whole seconds, at least one.
func (l *Leases) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (*Lease, error) {
	n, err := l.prepare(key, owner, ttl)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(n.value)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "encode lease %s: %w", key, err)
	}
	rev, err := l.kv.Create(ctx, key, b, jetstream.KeyTTL(n.ttl))
	switch {
	case store.Stale(err):
		return nil, droveway.Errorf(droveway.Conflict, "lease %s is held by %s: wait until it is released or runs out", key, l.holder(ctx, key))
	case err != nil:
		return nil, droveway.Errorf(droveway.Unavailable, "acquire lease %s: %w", key, err)
	}
	n.rev, n.token = rev, rev
	return n, nil
}

// Claim takes a lease whoever holds it; a former holder finds it lost. It is for
// keys that only one identity may write, and for owners who know that the former
// holder is no more.
func (l *Leases) Claim(ctx context.Context, key, owner string, ttl time.Duration) (*Lease, error) {
	n, err := l.prepare(key, owner, ttl)
	if err != nil {
		return nil, err
	}
	n.rev, err = n.write(ctx)
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "claim lease %s: %w", key, err)
	}
	n.token = n.rev
	return n, nil
}

func (l *Leases) prepare(key, owner string, ttl time.Duration) (*Lease, error) {
	if ttl < leastTTL {
		return nil, droveway.Errorf(droveway.Invalid, "lease %s for %s: at least %s", key, ttl, leastTTL)
	}
	return &Lease{
		leases: l, key: key, ttl: ttl.Truncate(time.Second), value: entry{Owner: owner, ID: rand.Text()},
		expires: time.Now().Add(ttl.Truncate(time.Second)),
	}, nil
}

func (l *Leases) holder(ctx context.Context, key string) string {
	e, err := l.kv.Get(ctx, key)
	if err != nil {
		return "another"
	}
	return decode(e.Value()).Owner
}

// decode reads an entry. One that is not ours to read names its owner and
// nothing else.
func decode(b []byte) (e entry) {
	if json.Unmarshal(b, &e) != nil {
		e.Owner = string(b)
	}
	return e
}

// Token grows with each holder of the key.
func (n *Lease) Token() uint64 { return n.token }

// Renew extends the lease by its time to live. Once it is lost the error is of
// kind Conflict, and stays so.
func (n *Lease) Renew(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sent := time.Now()
	rev, err := n.write(ctx, jetstream.WithExpectLastSequencePerSubject(n.rev))
	if store.Stale(err) && n.adopt(ctx) {
		rev, err = n.write(ctx, jetstream.WithExpectLastSequencePerSubject(n.rev))
	}
	switch {
	case store.Stale(err):
		return droveway.Errorf(droveway.Conflict, "lease %s was lost: act no more under it", n.key)
	case err != nil:
		return droveway.Errorf(droveway.Unavailable, "renew lease %s: %w", n.key, err)
	}
	n.rev, n.expires = rev, sent.Add(n.ttl)
	return nil
}

// adopt finds out whether the key was last written by this very Lease, in a
// write whose acknowledgement was lost.
func (n *Lease) adopt(ctx context.Context) bool {
	if n.leases.kv == nil {
		return false
	}
	e, err := n.leases.kv.Get(ctx, n.key)
	if err != nil || decode(e.Value()).ID != n.value.ID {
		return false
	}
	n.rev = e.Revision()
	return true
}

func (n *Lease) write(ctx context.Context, opts ...jetstream.PublishOpt) (uint64, error) {
	b, err := json.Marshal(n.value)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(n.subject())
	m.Data = b
	return n.publish(ctx, m, append(opts, jetstream.WithMsgTTL(n.ttl))...)
}

func (n *Lease) publish(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	ack, err := n.leases.js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// subjects is what the subjects of all leases begin with.
const subjects = "$KV." + store.BucketLeases + "."

func (n *Lease) subject() string { return subjects + n.key }

// Release gives the lease back, if it was not lost already.
func (n *Lease) Release(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := n.publish(ctx, store.Mark(n.subject()), jetstream.WithExpectLastSequencePerSubject(n.rev), jetstream.WithMsgTTL(markerLife))
	if err != nil && !store.Stale(err) {
		return droveway.Errorf(droveway.Unavailable, "release lease %s: %w", n.key, err)
	}
	return nil
}

// Keep renews the lease every third of its time to live until ctx ends, and
// returns nil then. Once the lease is lost, or could not be renewed for its whole
// time to live, it returns Conflict.
func (n *Lease) Keep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(n.ttl/3, time.Until(n.expiry()))):
		}
		err := n.renewInTime(ctx)
		if droveway.Is(err, droveway.Conflict) {
			return err
		}
		if err != nil && ctx.Err() == nil && !time.Now().Before(n.expiry()) {
			return droveway.Errorf(droveway.Conflict, "lease %s ran out: %w", n.key, err)
		}
	}
}

func (n *Lease) renewInTime(ctx context.Context) error {
	until := time.Now().Add(n.ttl / 3)
	if e := n.expiry(); e.Before(until) {
		until = e
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return n.Renew(ctx)
}

func (n *Lease) expiry() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.expires
}
