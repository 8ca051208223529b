package probe

import (
	"context"
	"errors"
	"sync"
)

// group is goroutines that live and end together: the first that returns an
// error, or returns at all, ends the others.
type group struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	err error
}

func (g *group) begin(ctx context.Context) context.Context {
	ctx, g.stop = context.WithCancel(ctx)
	return ctx
}

func (g *group) run(f func() error) {
	g.running.Go(func() {
		defer g.stop()
		if err := f(); err != nil && !errors.Is(err, context.Canceled) {
			g.mu.Lock()
			g.err = errors.Join(g.err, err)
			g.mu.Unlock()
		}
	})
}

func (g *group) wait() error {
	g.running.Wait()
	return g.err
}
