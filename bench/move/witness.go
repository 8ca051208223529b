package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/lab/observer"
	"github.com/droveway/droveway/internal/lab/scene"
)

const (
	bootTime  = 2 * time.Minute
	lookEvery = 10 * time.Millisecond
	// beforeMove is how long a guest works undisturbed first.
	beforeMove = 3 * time.Second
	// What counts as the time around the switch: from one second before the
	// guest ran on the target to two seconds after.
	beforeSwitch, afterSwitch = time.Second, 2 * time.Second
)

// witness sees one trial from outside: when the guest calls records durable, and
// when it answers a client.
type witness struct {
	watch  *scene.Watch
	pulse  pulse
	before beat      // when the trial began
	ready  beat      // when the guest was steady
	since  time.Time // when the steady time before that began

	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newWitness(ctx context.Context, s *scene.Watch) *witness {
	ctx, cancel := context.WithCancel(ctx)
	w := &witness{watch: s, before: newBeat(s.Observer.Summary()), cancel: cancel}
	w.running.Go(func() { w.pulse.run(ctx, s.Observer) })
	return w
}

func (w *witness) end() {
	w.watch.Rest()
	w.cancel()
	w.running.Wait()
}

// wrong counts what the guest found changed when it read it back.
func (w *witness) wrong() uint64 { return w.watch.Observer.Summary().Wrong() }

// steady returns once the guest writes and its client is answered without a
// break.
func (w *witness) steady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	_, err := w.watch.Observer.Wait(ctx, func(s observer.Summary) bool {
		return s.Acknowledged() > w.before.durable && w.watch.Client.Connected()
	})
	if err != nil {
		return fmt.Errorf("the guest does not come up: %w", err)
	}
	for {
		w.since = time.Now()
		if err := sleep(ctx, beforeMove); err != nil {
			return fmt.Errorf("the guest is not answered steadily: %w", err)
		}
		r := w.watch.Client.Between(w.since, time.Now())
		if r.Breaks == 0 && r.Answers > 0 && r.LongestGap < beforeMove/3 {
			w.ready = newBeat(w.watch.Observer.Summary())
			return nil
		}
	}
}

// bootedAgain tells when the guest's last record before its boot was durable,
// and when the first one after it, which it waits for.
func (w *witness) bootedAgain(ctx context.Context) (away, back time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		away, back, ok := w.pulse.boot(w.ready.runs + 1)
		if ok {
			return away, back, nil
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return away, back, fmt.Errorf("the guest does not come up again: %w", err)
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
	now := w.watch.Observer.Summary().Acknowledged()
	_, err := w.watch.Observer.Wait(ctx, func(s observer.Summary) bool { return s.Acknowledged() > now })
	if err != nil {
		return fmt.Errorf("the guest does not go on after the move: %w", err)
	}
	return nil
}

// figures takes what was seen of a move. The whole of it includes the time around
// the switch also where everything is done right after it.
func (w *witness) figures(r *result, begun, running, done time.Time) {
	end := running.Add(afterSwitch)
	if done.After(end) {
		end = done
	}
	client := w.watch.Client
	whole := client.Between(begun, end)
	var waits []figure
	for _, d := range client.Waits(begun, end) {
		waits = append(waits, ms(d))
	}
	r.ClientGap, r.WaitP50, r.WaitP99 = ms(whole.LongestGap), quantile(waits, 0.5).rounded(), quantile(waits, 0.99).rounded()
	r.SwitchGap = none()
	if !r.Mode.restarts() {
		r.SwitchGap = ms(client.Between(running.Add(-beforeSwitch), running.Add(afterSwitch)).LongestGap)
	}
	r.WritesBefore, r.WritesDuring = w.pulse.rate(w.since, begun), w.pulse.rate(begun, done)
	r.SessionKept = whole.Breaks == 0 && len(w.watch.Observer.Summary().Boots()) == w.ready.boots
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
