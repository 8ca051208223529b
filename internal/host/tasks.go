package host

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/droveway/droveway"
)

// tasks runs commands in the background, one of a key at a time: whoever asks
// for a key that runs joins it. A command so outlives its request, and a request
// that is repeated since its answer was lost does nothing twice.
type tasks struct {
	ctx     context.Context
	wait    sync.WaitGroup
	mu      sync.Mutex
	running map[taskKey]*task
}

// taskKey is one command: another token is another one, and so are other orders,
// whose answer the first one's end is not.
type taskKey struct {
	machine, verb string
	token         uint64
	order         string // the JSON
}

type task struct {
	cancel   context.CancelFunc
	done     chan struct{}
	value    any
	err      error
	progress atomic.Pointer[droveway.Progress]
}

func newTasks(ctx context.Context) *tasks {
	return &tasks{ctx: ctx, running: map[taskKey]*task{}}
}

// do runs fn under the key, or joins it, and answers after waitMax at the
// latest.
func (t *tasks) do(ctx context.Context, key taskKey, fn func(context.Context, *task) (any, error)) (reply, error) {
	k := t.start(key, fn)
	ctx, cancel := context.WithTimeout(ctx, waitMax)
	defer cancel()
	select {
	case <-k.done:
		if k.err != nil {
			return reply{}, k.err
		}
		b, err := json.Marshal(k.value)
		return reply{Value: b, Progress: k.progress.Load()}, err
	case <-ctx.Done():
		return reply{Pending: true, Progress: k.progress.Load()}, nil
	}
}

func (t *tasks) start(key taskKey, fn func(context.Context, *task) (any, error)) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.running[key]; k != nil {
		return k
	}
	ctx, cancel := context.WithCancel(t.ctx)
	k := &task{cancel: cancel, done: make(chan struct{})}
	t.running[key] = k
	t.wait.Go(func() {
		defer cancel()
		k.value, k.err = fn(ctx, k)
		t.mu.Lock()
		delete(t.running, key)
		t.mu.Unlock()
		close(k.done)
	})
	return k
}

// stop ends the tasks of a machine, but for the one of the verb given, and waits
// for them.
func (t *tasks) stop(machine, but string) {
	t.mu.Lock()
	var end []*task
	for key, k := range t.running {
		if key.machine == machine && key.verb != but {
			end = append(end, k)
		}
	}
	t.mu.Unlock()
	for _, k := range end {
		k.cancel()
		<-k.done
	}
}
