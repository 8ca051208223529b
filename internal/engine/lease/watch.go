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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, ended := l.follow(ctx, prefix)
	w := watch{held: map[string]holding{}, tell: fn}
	for {
		expiry, stop := w.alarm()
		var err error
		select {
		case m := <-messages:
			err = w.heard(m)
		case err = <-ended:
		case <-expiry:
			err = w.expire()
		}
		stop()
		if err != nil {
			return err
		}
	}
}

// follow reads the stream of leases beside its caller, who has to count time,
// too.
func (l *Leases) follow(ctx context.Context, prefix string) (<-chan jetstream.Msg, <-chan error) {
	messages, ended := make(chan jetstream.Msg), make(chan error, 1)
	from := store.From{Subjects: []string{subjects + prefix + ".>"}, Policy: jetstream.DeliverLastPerSubjectPolicy}
	go func() {
		ended <- store.Follow(ctx, l.js, "KV_"+store.BucketLeases, from, func(m jetstream.Msg) error {
			if m == nil {
				return nil
			}
			select {
			case messages <- m:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	return messages, ended
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

// alarm rings when the first lease runs out; never, if there is none.
func (w *watch) alarm() (<-chan time.Time, func() bool) {
	first, some := w.first()
	if !some {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(time.Until(first))
	return t.C, t.Stop
}

// first is when the first lease runs out.
func (w *watch) first() (first time.Time, some bool) {
	for _, h := range w.held {
		if !some || h.expires.Before(first) {
			first, some = h.expires, true
		}
	}
	return first, some
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
