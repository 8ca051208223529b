package job_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/job"
)

type order struct{ N int }

func to(n int) func(droveway.Job) (any, error) {
	return func(droveway.Job) (any, error) { return order{n}, nil }
}

// waitsFor is a kind whose step ends once the arguments say n, and tells of each
// number that it sees.
func waitsFor(n int, seen chan<- int) job.Kind {
	return kind("wait", doing("wait", func(ctx context.Context, r *job.Run[none]) error {
		for last := 0; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			var o order
			if err := r.Args(&o); err != nil {
				return err
			}
			if o.N != last {
				last = o.N
				seen <- last
			}
			if last == n {
				return nil
			}
			r.Progress(droveway.Progress{Done: int64(last)})
		}
		return ctx.Err()
	}))
}

// The arguments of a job change while it runs, and while nobody runs it; whoever
// runs it next has them.
func TestAmend(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	seen := make(chan int, 10)
	k := waitsFor(9, seen)
	m := o.manager(k)
	stop := o.run(m)
	name := submit(t, m, "wait", order{1})
	mustSee(t, seen, 1)
	j, err := m.Amend(t.Context(), name, to(2))
	if err != nil || string(j.Args) != `{"N":2}` {
		t.Errorf("job %+v, %v", j, err)
	}
	mustSee(t, seen, 2)
	stop()
	if _, err := m.Amend(t.Context(), name, to(3)); err != nil {
		t.Fatal(err)
	}
	next := o.manager(k)
	o.run(next)
	mustSee(t, seen, 3)
	no := errors.New("it may not")
	if _, err := next.Amend(t.Context(), name, func(droveway.Job) (any, error) { return order{9}, no }); !errors.Is(err, no) {
		t.Errorf("a change that is refused: %v", err)
	}
	if _, err := next.Amend(t.Context(), name, to(9)); err != nil {
		t.Fatal(err)
	}
	if j := ended(t, next, name, droveway.JobSucceeded); string(j.Args) != `{"N":9}` {
		t.Errorf("it ended with %s", j.Args)
	}
	if _, err := next.Amend(t.Context(), name, to(1)); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("of a job that has ended: %v, want conflict", err)
	}
	if _, err := next.Amend(t.Context(), "ghost", to(1)); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("of no job: %v, want not found", err)
	}
}

func mustSee(t *testing.T, seen <-chan int, want int) {
	t.Helper()
	select {
	case n := <-seen:
		if n != want {
			t.Fatalf("the step sees %d, want %d", n, want)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("the step never sees %d", want)
	}
}

// withdraws is a kind whose step takes back the first cancel that it hears, once let,
// and then tells whether it hears another.
func withdraws(hears chan<- bool, let <-chan struct{}) job.Kind {
	first := true
	wait := func(r *job.Run[none]) {
		select {
		case <-let:
		case <-r.Onward().Done():
		}
	}
	return kind("withdraw",
		step{Name: "point", Point: true, Do: func(context.Context, *job.Run[none]) error { return nil }},
		step{Name: "turns", Turns: true, Do: func(ctx context.Context, r *job.Run[none]) error {
			if !first {
				wait(r)
				r.Progress(droveway.Progress{Done: 1}) // whoever writes, hears
				hears <- r.Cancelled()
				return nil
			}
			first = false
			hears <- false
			<-ctx.Done()
			hears <- true
			wait(r)
			if err := r.Withdraw(r.Onward()); err != nil {
				return err
			}
			return droveway.Errorf(droveway.Unavailable, "it cannot be obeyed")
		}})
}

// A cancel that is taken back stays so, whatever was written meanwhile: the record is
// not the owner's alone, and an Amend between two of its writes must not bring the
// cancel back. The next one is heard. SYSTEMS 6
func TestWithdrawAfterAmend(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"none after it": false, "another after it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, bustest.Connect(t))
			hears, let := make(chan bool, 9), make(chan struct{})
			m := o.manager(withdraws(hears, let))
			o.run(m)
			job := submit(t, m, "withdraw", order{1})
			<-hears
			cancel(t, m, job)
			<-hears
			if _, err := m.Amend(t.Context(), job, to(2)); err != nil {
				t.Fatal(err)
			}
			let <- struct{}{}
			takenBack(t, m, job)
			if again {
				cancel(t, m, job)
				if _, err := m.Amend(t.Context(), job, to(3)); err != nil {
					t.Fatal(err)
				}
			}
			let <- struct{}{}
			if got := <-hears; got != again {
				t.Errorf("after the cancel was taken back the step hears one: %t, want %t", got, again)
			}
			if j := ended(t, m, job, droveway.JobSucceeded); j.Cancel != again {
				t.Errorf("it ended with cancel %t", j.Cancel)
			}
		})
	}
}

// takenBack waits for a cancel to be gone from a job's record.
func takenBack(t *testing.T, m *job.Manager, name string) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		j, err := m.Get(t.Context(), name)
		if err == nil && !j.Cancel {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the cancel is never taken back: %v", err)
		}
	}
}

func cancel(t *testing.T, m *job.Manager, name string) {
	t.Helper()
	if err := m.Cancel(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// After a cancel was taken back the next one is heard at once, by a step that writes
// nothing either. SYSTEMS 6
func TestCancelAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	begins := make(chan struct{}, 9)
	attempt := 0
	m := o.manager(kind("again",
		step{Name: "point", Point: true, Do: nothing},
		step{Name: "turns", Turns: true, Do: func(ctx context.Context, r *job.Run[none]) error {
			attempt++
			begins <- struct{}{}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
				t.Errorf("attempt %d does not hear the cancel", attempt)
			}
			if attempt > 2 || !r.Cancelled() {
				return job.Fail(droveway.Errorf(droveway.Conflict, "called off"))
			}
			if err := r.Withdraw(r.Onward()); err != nil {
				return err
			}
			return droveway.Errorf(droveway.Unavailable, "it cannot be obeyed")
		}}))
	o.run(m)
	name := submit(t, m, "again", order{1})
	for range 3 {
		await(t, "the next attempt", begins)
		cancel(t, m, name)
	}
	ended(t, m, name, droveway.JobFailed)
}
