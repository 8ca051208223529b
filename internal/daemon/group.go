package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group runs parts of a role next to each other. The first that ends, for
// whatever reason, stops the others.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu  sync.Mutex
	err error
}

func newGroup(ctx context.Context) *group {
	ctx, cancel := context.WithCancel(ctx)
	return &group{ctx: ctx, cancel: cancel}
}

func (g *group) run(name string, part func(context.Context) error) {
	g.wait.Go(func() {
		defer g.cancel()
		err := part(g.ctx)
		if err == nil || g.ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err == nil {
			g.err = fmt.Errorf("%s: %w", name, err)
		}
	})
}

// stop ends all parts and gives the error of the first that failed.
func (g *group) stop() error {
	g.cancel()
	return g.end()
}

// end waits until all parts have ended.
func (g *group) end() error {
	g.wait.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
