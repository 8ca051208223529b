package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/lab/client"
	"github.com/droveway/droveway/internal/lab/observer"
	"github.com/droveway/droveway/internal/lab/workload"
)

const (
	betweenRecords = 5 // ms
	bootTime       = 2 * time.Minute
	dialTime       = time.Second
	// beforeMove is how long a guest works undisturbed first.
	beforeMove = 3 * time.Second
	// atSwitch is what counts as the time around the switch: from one second
	// before the guest ran on the target to two seconds after.
	beforeSwitch, afterSwitch = time.Second, 2 * time.Second
)

// witness watches a guest from outside: it notes what the guest calls durable,
// and when a client is answered.
type witness struct {
	observer *observer.Observer
	client   *client.Client
	userData string // tells the guest where the witness is
	cancel   context.CancelFunc
	running  sync.WaitGroup
	failed   error
}

func (b *bed) watch(ctx context.Context) (*witness, error) {
	ln, err := b.lab.Listen(ctx, b.lab.ClientNS(), "tcp", net.JoinHostPort(witnessAddress.Addr().String(), "0"))
	if err != nil {
		return nil, fmt.Errorf("listen for the guest: %w", err)
	}
	user, err := workload.Config{Observer: ln.Addr().String(), DelayMS: betweenRecords}.UserData()
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &witness{observer: observer.New(nil, b.log), userData: user, cancel: cancel}
	w.client = client.New(func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		return b.lab.Dial(ctx, b.lab.ClientNS(), "tcp", net.JoinHostPort(guestAddress.Addr().String(), client.EchoPort))
	})
	w.running.Go(func() { w.failed = w.observer.Run(ctx, ln) })
	w.running.Go(func() { _ = w.client.Run(ctx) }) // it notes its errors itself
	return w, nil
}

func (w *witness) end() error {
	w.cancel()
	w.running.Wait()
	return w.failed
}

// steady returns once the guest writes and its client is answered without a
// break.
func (w *witness) steady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	_, err := w.observer.Wait(ctx, func(s observer.Summary) bool { return s.Acknowledged() > 0 && w.client.Connected() })
	if err != nil {
		return fmt.Errorf("the guest does not come up: %w", err)
	}
	for {
		since := time.Now()
		if err := sleep(ctx, beforeMove); err != nil {
			return fmt.Errorf("the guest is not answered steadily: %w", err)
		}
		if r := w.client.Between(since, time.Now()); r.Breaks == 0 && r.Answers > 0 && r.LongestGap < beforeMove/3 {
			return nil
		}
	}
}

// goesOn returns once the guest has written more on the target, and the time
// around the switch is over.
func (w *witness) goesOn(ctx context.Context, running time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	if err := sleep(ctx, time.Until(running.Add(afterSwitch))); err != nil {
		return err
	}
	now := w.observer.Summary().Acknowledged()
	_, err := w.observer.Wait(ctx, func(s observer.Summary) bool { return s.Acknowledged() > now })
	if err != nil {
		return fmt.Errorf("the guest does not go on after the move: %w", err)
	}
	return nil
}

// gaps takes the client's figures. The whole move includes the time around the
// switch also where everything is done right after it.
func (w *witness) gaps(r *result, begun, running, done time.Time) {
	end := running.Add(afterSwitch)
	if done.After(end) {
		end = done
	}
	whole := w.client.Between(begun, end)
	r.ClientGap = ms(whole.LongestGap)
	r.ClientGapSwitch = ms(w.client.Between(running.Add(-beforeSwitch), running.Add(afterSwitch)).LongestGap)
	r.SessionKept = whole.Breaks == 0 && len(w.observer.Summary().Boots()) == 1
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
