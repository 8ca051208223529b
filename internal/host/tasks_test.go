package host

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var key = taskKey{web, verbCreate, 5, ""}

// runs is how many commands run, of all or of some keys.
func (t *tasks) runs(keys ...taskKey) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(keys) == 0 {
		return len(t.running)
	}
	for _, k := range keys {
		if t.running[k] != nil {
			n++
		}
	}
	return n
}

// A command outlives its request, and whoever asks again joins it.
func TestRequestThatTimesOutJoins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks(t.Context())
		runs := 0
		long := func(context.Context, *task) (any, error) {
			runs++
			time.Sleep(2*waitMax + time.Second)
			return runs, nil
		}
		begun := time.Now()
		for i, pending := range []bool{true, true, false} {
			r, err := tasks.do(t.Context(), key, long)
			if err != nil || r.Pending != pending {
				t.Fatalf("answer %d: %+v, %v", i, r, err)
			}
			if !pending && string(r.Value) != "1" {
				t.Errorf("value %s", r.Value)
			}
		}
		if took := time.Since(begun); runs != 1 || took != 2*waitMax+time.Second {
			t.Errorf("%d runs in %s", runs, took)
		}
		if _, err := tasks.do(t.Context(), key, func(context.Context, *task) (any, error) { runs++; return nil, nil }); err != nil || runs != 2 {
			t.Errorf("%d runs once it has ended, %v", runs, err)
		}
	})
}

// Those who wait for the same command get the same answer, its error too.
func TestAllThatJoinedGetTheError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks(t.Context())
		broken := errors.New("broken")
		fail := func(context.Context, *task) (any, error) { time.Sleep(time.Second); return nil, broken }
		for range 3 {
			go func() {
				if _, err := tasks.do(t.Context(), key, fail); !errors.Is(err, broken) {
					t.Errorf("error %v", err)
				}
			}()
		}
		synctest.Wait()
		if n := tasks.runs(); n != 1 {
			t.Errorf("%d commands run", n)
		}
		time.Sleep(2 * time.Second)
		tasks.wait.Wait()
	})
}

// Another token, another verb, another machine, other orders: each is a command of
// its own.
func TestOtherCommandsDoNotJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks(t.Context())
		block := func(ctx context.Context, _ *task) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		keys := []taskKey{key, {web, verbCreate, 6, ""}, {web, verbCreate, 5, `{"equal":true}`}, {web, verbStart, 5, ""}, {"db", verbCreate, 5, ""}}
		for _, k := range keys {
			tasks.start(k, block)
		}
		if n := tasks.runs(); n != len(keys) {
			t.Errorf("%d commands run", n)
		}
		tasks.stop(web, verbStart) // waits until they have ended
		if tasks.runs(keys[:3]...) != 0 || tasks.runs(keys[3:]...) != 2 {
			t.Error("others were ended than those of the machine, but for the verb")
		}
		tasks.stop(web, "")
		tasks.stop("db", "")
		tasks.wait.Wait()
	})
}

// The end of the agent is the end of its commands, not the end of a request.
func TestTaskEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent, end := context.WithCancel(t.Context())
		tasks := newTasks(agent)
		request, leave := context.WithCancel(t.Context())
		leave()
		r, err := tasks.do(request, key, func(ctx context.Context, _ *task) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
		if err != nil || !r.Pending || tasks.runs() != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		end()
		tasks.wait.Wait()
	})
}
