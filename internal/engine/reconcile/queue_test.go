package reconcile_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/engine/reconcile"
)

// scene is a queue that runs inside a synctest bubble, and what it has done.
type scene struct {
	*reconcile.Queue
	begun time.Time
	stop  func()

	mu  sync.Mutex
	log []entry
}

type entry struct {
	After time.Duration
	Key   string
}

func run(t *testing.T, workers int, fn func(ctx context.Context, key string) (time.Duration, error)) *scene {
	t.Helper()
	s := &scene{Queue: reconcile.New(slog.New(slog.DiscardHandler)), begun: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- s.Run(ctx, workers, func(ctx context.Context, key string) (time.Duration, error) {
			s.mu.Lock()
			s.log = append(s.log, entry{time.Since(s.begun), key})
			s.mu.Unlock()
			return fn(ctx, key)
		})
	}()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	return s
}

func (s *scene) want(t *testing.T, want ...entry) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := gocmp.Diff(want, s.log); d != "" {
		t.Error(d)
	}
}

func once(context.Context, string) (time.Duration, error) { return 0, nil }

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, 1, once)
		defer s.stop()
		s.Add("a")
		s.want(t, entry{0, "a"})
		time.Sleep(time.Hour)
		s.want(t, entry{0, "a"})
		s.Add("a")
		s.want(t, entry{0, "a"}, entry{time.Hour, "a"})
	})
}

// What is added while it waits is handled once; what is added while it runs,
// once more afterwards, and never beside itself.
func TestCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := map[string]int{}
		var mu sync.Mutex
		s := run(t, 3, func(_ context.Context, key string) (time.Duration, error) {
			mu.Lock()
			running[key]++
			if running[key] > 1 {
				t.Errorf("%s runs twice", key)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			running[key]--
			return 0, nil
		})
		defer s.stop()
		s.Add("a")
		synctest.Wait()
		for range 5 {
			s.Add("a")
		}
		time.Sleep(time.Minute)
		s.want(t, entry{0, "a"}, entry{time.Second, "a"})
	})
}

func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, 2, func(context.Context, string) (time.Duration, error) {
			time.Sleep(time.Second)
			return 0, nil
		})
		defer s.stop()
		for _, k := range []string{"a", "b", "c", "b"} {
			s.Add(k)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		slices.SortFunc(s.log, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.After, b.After), cmp.Compare(a.Key, b.Key))
		})
		s.want(t, entry{0, "a"}, entry{0, "b"}, entry{time.Second, "c"})
	})
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, 1, func(context.Context, string) (time.Duration, error) { return time.Minute, nil })
		s.Add("a")
		time.Sleep(2*time.Minute + time.Second)
		s.want(t, entry{0, "a"}, entry{time.Minute, "a"}, entry{2 * time.Minute, "a"})
		s.Add("a") // at once, and the timer begins anew
		time.Sleep(time.Minute + time.Second)
		s.stop()
		time.Sleep(time.Hour)
		s.want(t, entry{0, "a"}, entry{time.Minute, "a"}, entry{2 * time.Minute, "a"},
			entry{2*time.Minute + time.Second, "a"}, entry{3*time.Minute + time.Second, "a"})
	})
}

// A key that fails waits longer each time, even if it is added meanwhile by what
// it does; one success and it begins anew.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *scene
		var failures atomic.Int32
		failures.Store(3)
		s = run(t, 1, func(_ context.Context, key string) (time.Duration, error) {
			if failures.Add(-1) >= 0 {
				s.Add(key)
				return 0, errors.New("not yet")
			}
			return 0, nil
		})
		defer s.stop()
		s.Add("a")
		time.Sleep(time.Second)
		failures.Store(1)
		s.Add("a")
		time.Sleep(time.Second)
		ms := time.Millisecond
		s.want(t, entry{0, "a"}, entry{100 * ms, "a"}, entry{300 * ms, "a"}, entry{700 * ms, "a"},
			entry{1000 * ms, "a"}, entry{1100 * ms, "a"})
	})
}

func TestLongBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, 1, func(context.Context, string) (time.Duration, error) { return 0, errors.New("never") })
		s.Add("a")
		time.Sleep(24 * time.Hour)
		s.stop()
		last := s.log[len(s.log)-1].After - s.log[len(s.log)-2].After
		if last != time.Minute {
			t.Errorf("at the end every %s, want every minute", last)
		}
	})
}

// What is added before Run waits for it, and the end of Run interrupts fn.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := reconcile.New(slog.New(slog.DiscardHandler))
		q.Add("a")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		calls := 0
		err := q.Run(ctx, 2, func(ctx context.Context, _ string) (time.Duration, error) {
			calls++
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if err != nil || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
		q.Add("b") // no harm
	})
}
