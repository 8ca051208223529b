// Package reconcile is a queue of things to look at again: keys, each handled by
// one worker at a time, until what is there is what is wanted.
//
// It touches nothing but time. What a key stands for, and what is to be done
// about it, belongs to its user.
package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A key that fails is tried again after backoffMin, doubled with each failure
// up to backoffMax.
const (
	backoffMin = 100 * time.Millisecond
	backoffMax = time.Minute
)

// Queue holds keys that wait for a worker.
//
//	idle ──Add──▶ waiting ──worker free──▶ running ──done──▶ idle
//	 │               ▲                       │ │
//	 └──again over───┘◀──added meanwhile─────┘ └──again > 0 or failed──▶ idle, with a timer
//
// A key that is added while it waits is handled once; added while it runs, once
// more afterwards, unless it fails: then its timer decides.
type Queue struct {
	log *slog.Logger

	mu      sync.Mutex
	wake    *sync.Cond
	keys    map[string]*item
	waiting []string
	closed  bool
}

// item is a key that is not idle, or has a timer, or has failed of late.
type item struct {
	waiting  bool
	running  bool
	added    bool // while it ran
	timer    *time.Timer
	failures int
}

// New makes a queue. Failures are logged.
func New(log *slog.Logger) *Queue {
	q := &Queue{log: log, keys: map[string]*item{}}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// Add has key handled soon, whether or not it was to be handled later.
func (q *Queue) Add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(key)
}

func (q *Queue) add(key string) {
	it := q.keys[key]
	if it == nil {
		it = &item{}
		q.keys[key] = it
	}
	it.stopTimer()
	switch {
	case it.waiting:
	case it.running:
		it.added = true
	default:
		it.waiting = true
		q.waiting = append(q.waiting, key)
		q.wake.Signal()
	}
}

// Run handles keys with several workers until ctx ends. fn says after what time
// to look at the key again by itself (0: not before it is added); an error is
// logged and tried again, later each time. Keys added before Run wait for it. A
// queue runs once.
func (q *Queue) Run(ctx context.Context, workers int, fn func(ctx context.Context, key string) (again time.Duration, err error)) error {
	defer context.AfterFunc(ctx, q.close)()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for key, ok := q.take(); ok; key, ok = q.take() {
				again, err := fn(ctx, key)
				q.done(ctx, key, again, err)
			}
		})
	}
	all.Wait()
	return nil
}

// close sends the workers home and forgets all timers.
func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, it := range q.keys {
		it.stopTimer()
	}
	q.wake.Broadcast()
}

func (q *Queue) take() (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return "", false
	}
	key := q.waiting[0]
	q.waiting = q.waiting[1:]
	it := q.keys[key]
	it.waiting, it.running = false, true
	return key, true
}

func (q *Queue) done(ctx context.Context, key string, again time.Duration, err error) {
	if err != nil && ctx.Err() == nil {
		q.log.Warn("will be tried again", "key", key, "error", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.keys[key]
	added := it.added
	it.running, it.added = false, false
	if err != nil {
		// Its failing may itself have added it; that must not make it spin.
		added = false
		again = min(backoffMin<<min(it.failures, 16), backoffMax)
		it.failures++
	} else {
		it.failures = 0
	}
	switch {
	case q.closed:
	case added:
		q.add(key)
	case again > 0:
		it.timer = time.AfterFunc(again, func() { q.Add(key) })
	default:
		delete(q.keys, key)
	}
}

func (it *item) stopTimer() {
	if it.timer != nil {
		it.timer.Stop()
		it.timer = nil
	}
}
