package lease

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway/internal/engine/store"
)

// Watch tells of every lease whose key begins with prefix and a dot: first those
// that are held, then each that is taken, renewed, released or runs out. It ends
// with fn's error, with the cause of ctx, or with Unavailable if the connection
// was closed.
//
// Who cannot be heard counts as not holding: while the bus is away, the leases
// run out one after the other, and they are told anew once it is back.
func (l *Leases) Watch(ctx context.Context, prefix string, fn func(key, owner string, held bool) error) error {
	tail, err := store.OpenTail(ctx, l.js, "KV_"+store.BucketLeases, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjects + prefix + ".>"},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return err
	}
	defer tail.Close()
	w := watch{held: map[string]holding{}, tell: fn}
	for {
		m, err := w.next(ctx, tail)
		if err == nil && m != nil {
			err = w.heard(m)
		}
		if err == nil {
			err = w.expire()
		}
		if err != nil {
			return err
		}
	}
}

// watch is the leases as one watcher knows them. The bus forgets a lease that
// runs out without a word, so the watcher counts, too. It begins to count when it
// hears of a renewal, later than the holder does: it never calls a lease free
// that its holder may still rely on.
type watch struct {
	held map[string]holding
	tell func(key, owner string, held bool) error
}

type holding struct {
	owner   string
	expires time.Time
}

// next waits for a message, or, with neither message nor error, until a lease
// runs out.
func (w *watch) next(ctx context.Context, tail *store.Tail) (jetstream.Msg, error) {
	waiting := ctx
	if first, any := w.first(); any {
		var cancel context.CancelFunc
		waiting, cancel = context.WithDeadline(ctx, first)
		defer cancel()
	}
	m, err := tail.Next(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return m, err
}

// first is when the first lease runs out.
func (w *watch) first() (first time.Time, any bool) {
	for _, h := range w.held {
		if !any || h.expires.Before(first) {
			first, any = h.expires, true
		}
	}
	return first, any
}

func (w *watch) heard(m jetstream.Msg) error {
	key := strings.TrimPrefix(m.Subject(), subjects)
	ttl, err := time.ParseDuration(m.Headers().Get(jetstream.MsgTTLHeader))
	// A mark says that it was released. What has no time to live is no lease;
	// hosts write here, so it need not be a defect of ours.
	if m.Headers().Get("KV-Operation") != "" || err != nil {
		return w.free(key)
	}
	h := holding{owner: decode(m.Data()).Owner, expires: time.Now().Add(ttl)}
	w.held[key] = h
	return w.tell(key, h.owner, true)
}

func (w *watch) expire() error {
	now := time.Now()
	for key, h := range w.held {
		if h.expires.After(now) {
			continue
		}
		if err := w.free(key); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) free(key string) error {
	h, ok := w.held[key]
	if !ok {
		return nil
	}
	delete(w.held, key)
	return w.tell(key, h.owner, false)
}
