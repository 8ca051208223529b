package job_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// memory is a journal that keeps every write.
type memory struct {
	writes []droveway.Job
	cancel func(droveway.Job) bool // whether a cancel comes just before this write
	err    error
}

func (m *memory) Save(_ context.Context, rec *job.Record) error {
	if m.err != nil {
		return m.err
	}
	if m.cancel != nil && !rec.Job.Cancel && m.cancel(rec.Job) {
		rec.Job.Cancel = true
		return job.ErrCancelled
	}
	j := rec.Job
	j.Done = slices.Clone(j.Done)
	m.writes = append(m.writes, j)
	return nil
}

type none struct{}

type step = job.Step[none]

// tracks makes steps that note what they do, with what is special about some.
func tracks(trace *[]string, special map[string]func() error, names ...string) []step {
	var steps []step
	for _, n := range names {
		name, point := strings.CutSuffix(n, "!")
		act := func(what string) func(context.Context, *job.Run[none]) error {
			return func(context.Context, *job.Run[none]) error {
				*trace = append(*trace, what)
				if f := special[what]; f != nil {
					return f()
				}
				return nil
			}
		}
		steps = append(steps, step{Name: name, Do: act("do " + name), Undo: act("undo " + name), Point: point})
	}
	return steps
}

func execute(t *testing.T, ctx context.Context, steps []step, m *memory, asked <-chan int) (*job.Record, error) {
	t.Helper()
	rec, err := job.NewRecord(steps)
	if err != nil {
		t.Fatal(err)
	}
	rec.Job.Name = "test-1"
	return rec, job.Execute(ctx, rec, steps, job.Env{
		Journal: m, Asked: asked, Log: slog.New(slog.DiscardHandler),
		Retry: func(job.Failures) time.Duration { return 0 },
	})
}

// fails gives an error so many times.
func fails(times int, err error) func() error {
	return func() error {
		if times--; times < 0 {
			return nil
		}
		return err
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	away := droveway.Errorf(droveway.Unavailable, "host a is away")
	full := droveway.Errorf(droveway.Conflict, "no room")
	for name, tt := range map[string]struct {
		special map[string]func() error
		state   droveway.JobState
		error   string
		trace   string
	}{
		"none": {
			state: droveway.JobSucceeded,
			trace: "do a, do b, do c",
		},
		"passes": {
			special: map[string]func() error{"do a": fails(9, away)},
			state:   droveway.JobSucceeded,
			trace:   "do a×10, do b, do c",
		},
		"lasts too long": {
			special: map[string]func() error{"do a": fails(10, away)},
			state:   droveway.JobFailed, error: "step a failed 10 times: host a is away",
			trace: "do a×10, undo a",
		},
		"permanent by its kind": {
			special: map[string]func() error{"do b": fails(1, full)},
			state:   droveway.JobFailed, error: "step b: no room",
			trace: "do a, do b, undo b, undo a",
		},
		"marked permanent": {
			special: map[string]func() error{"do a": fails(1, job.Permanent(away))},
			state:   droveway.JobFailed, error: "step a: host a is away",
			trace: "do a, undo a",
		},
		"marked permanent, wrapped": {
			special: map[string]func() error{"do a": fails(1, fmt.Errorf("reserve: %w", job.Permanent(away)))},
			state:   droveway.JobFailed, error: "step a: reserve: host a is away",
			trace: "do a, undo a",
		},
		"no kind": {
			special: map[string]func() error{"do a": fails(1, errors.New("odd"))},
			state:   droveway.JobSucceeded,
			trace:   "do a×2, do b, do c",
		},
		"panic": {
			special: map[string]func() error{"do a": func() error { panic("oh no") }},
			state:   droveway.JobFailed, error: "step a failed 10 times: a defect: oh no",
			trace: "do a×10, undo a",
		},
		"undo fails a while, for whatever reason": {
			special: map[string]func() error{"do b": fails(1, full), "undo a": fails(20, job.Permanent(full))},
			state:   droveway.JobFailed, error: "step b: no room",
			trace: "do a, do b, undo b, undo a×21",
		},
		"after the point, for long": {
			special: map[string]func() error{"do c": fails(30, full)},
			state:   droveway.JobSucceeded,
			trace:   "do a, do b, do c×31",
		},
		"final, after the point": {
			special: map[string]func() error{"do c": fails(1, job.Fail(full))},
			state:   droveway.JobFailed, error: "no room",
			trace: "do a, do b, do c",
		},
		"final, before the point": {
			special: map[string]func() error{"do a": fails(1, job.Fail(away))},
			state:   droveway.JobFailed, error: "step a: host a is away",
			trace: "do a, undo a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trace []string
			rec, err := execute(t, t.Context(), tracks(&trace, tt.special, "a", "b!", "c"), &memory{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if rec.Job.State != tt.state || !strings.HasSuffix(rec.Job.Error, tt.error) || tt.error == "" && rec.Job.Error != "" {
				t.Errorf("ended %s, %q; want %s, %q", rec.Job.State, rec.Job.Error, tt.state, tt.error)
			}
			if d := cmp.Diff(tt.trace, fold(trace)); d != "" {
				t.Error(d)
			}
		})
	}
}

// fold writes repetitions as ×n.
func fold(trace []string) string {
	var out []string
	for i := 0; i < len(trace); {
		n := i
		for n < len(trace) && trace[n] == trace[i] {
			n++
		}
		if n-i > 1 {
			out = append(out, fmt.Sprintf("%s×%d", trace[i], n-i))
		} else {
			out = append(out, trace[i])
		}
		i = n
	}
	return strings.Join(out, ", ")
}

// The record says at each write what has been done and what may have been.
func TestJournal(t *testing.T) {
	t.Parallel()
	var trace []string
	m := &memory{}
	special := map[string]func() error{"do c": fails(1, job.Permanent(errors.New("no")))}
	if _, err := execute(t, t.Context(), tracks(&trace, special, "a", "b", "c"), m, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range m.writes {
		got = append(got, fmt.Sprintf("%s %v %s", j.State, j.Done, j.Step))
	}
	if d := cmp.Diff([]string{
		"running [] a",
		"running [a] b",
		"running [a b] c",
		"unwinding [a b] c",
		"unwinding [a] b",
		"unwinding [] a",
		"failed [] ",
	}, got); d != "" {
		t.Error(d)
	}
}

// A cancel that comes just before the entry of the point of no return wins over
// it: the point does not act.
func TestCancelBeforePoint(t *testing.T) {
	t.Parallel()
	var trace []string
	m := &memory{cancel: func(j droveway.Job) bool { return j.Step == "b" }}
	rec, err := execute(t, t.Context(), tracks(&trace, nil, "a", "b!", "c"), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := fold(trace); rec.Job.State != droveway.JobFailed || got != "do a, undo a" {
		t.Errorf("ended %s after %s", rec.Job.State, got)
	}
}

func TestRecordCancel(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		job  droveway.Job
		want droveway.Kind
	}{
		"pending":           {droveway.Job{State: droveway.JobPending}, ""},
		"before the point":  {droveway.Job{State: droveway.JobRunning, Step: "a"}, ""},
		"between":           {droveway.Job{State: droveway.JobRunning, Done: []string{"a"}}, ""},
		"in the point":      {droveway.Job{State: droveway.JobRunning, Done: []string{"a"}, Step: "b"}, droveway.Conflict},
		"after the point":   {droveway.Job{State: droveway.JobRunning, Done: []string{"a", "b"}, Step: "c"}, droveway.Conflict},
		"undoing the point": {droveway.Job{State: droveway.JobUnwinding, Done: []string{"a"}, Step: "b"}, ""},
		"succeeded":         {droveway.Job{State: droveway.JobSucceeded}, droveway.Conflict},
		"failed":            {droveway.Job{State: droveway.JobFailed}, droveway.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := &job.Record{Job: tt.job, Point: "b"}
			if err := rec.Cancel(); droveway.KindOf(err) != tt.want || rec.Job.Cancel != (err == nil) {
				t.Errorf("%v, cancel %t; want kind %q", err, rec.Job.Cancel, tt.want)
			}
		})
	}
}

// A Do that is under way when a cancel comes has its context ended, with the
// cause that says why, and is undone.
func TestCancelDuringDo(t *testing.T) {
	t.Parallel()
	asked := make(chan int, 1)
	undone := false
	steps := []step{{
		Name: "a",
		Do: func(ctx context.Context, r *job.Run[none]) error {
			asked <- 1
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), job.ErrCancelled) || !r.Cancelled() {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			return ctx.Err()
		},
		Undo: func(ctx context.Context, _ *job.Run[none]) error { undone = true; return ctx.Err() },
	}}
	rec, err := execute(t, t.Context(), steps, &memory{}, asked)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Job.State != droveway.JobFailed || !undone || rec.Job.Error != job.ErrCancelled.Error() {
		t.Errorf("ended %s (%s), undone %t", rec.Job.State, rec.Job.Error, undone)
	}
}

// The end of Execute's context leaves the record as it is.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	cause := errors.New("the role ends")
	ctx, cancel := context.WithCancelCause(t.Context())
	steps := []step{{
		Name: "a",
		Do:   func(ctx context.Context, _ *job.Run[none]) error { cancel(cause); <-ctx.Done(); return ctx.Err() },
		Undo: func(context.Context, *job.Run[none]) error { t.Error("undone"); return nil },
	}}
	m := &memory{}
	_, err := execute(t, ctx, steps, m, nil)
	if !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
	if n := len(m.writes); n != 1 || m.writes[0].Step != "a" || m.writes[0].State != droveway.JobRunning {
		t.Errorf("%d writes: %+v", n, m.writes)
	}
}

// Without a journal nothing more is done, even if the step would go on.
func TestJournalLost(t *testing.T) {
	t.Parallel()
	m := &memory{}
	lost := errors.New("another owner")
	calls := 0
	steps := []step{{
		Name: "a",
		Do: func(ctx context.Context, r *job.Run[none]) error {
			calls++
			m.err = lost
			if err := r.Save(ctx); err == nil {
				t.Error("saved")
			}
			if ctx.Err() == nil {
				t.Error("the context goes on")
			}
			return nil
		},
	}}
	if _, err := execute(t, t.Context(), steps, m, nil); !errors.Is(err, lost) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestProgressAndResult(t *testing.T) {
	t.Parallel()
	m := &memory{}
	steps := []step{
		{Name: "a", Do: func(_ context.Context, r *job.Run[none]) error {
			for n := range int64(1000) {
				r.Progress(droveway.Progress{Done: n, Total: 1000})
			}
			if r.Passed() {
				t.Error("passed a point that there is not")
			}
			if err := r.Result(func() {}); err == nil {
				t.Error("a function as a result")
			}
			return r.Result(map[string]int{"bytes": 3})
		}},
		{Name: "b", Do: func(context.Context, *job.Run[none]) error { return nil }},
	}
	rec, err := execute(t, t.Context(), steps, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.writes); n > 6 {
		t.Errorf("%d writes", n)
	}
	if p := m.writes[1].Progress; p == nil || p.Total != 1000 {
		t.Errorf("progress %+v", p)
	}
	if rec.Job.Progress != nil || string(rec.Job.Result) != `{"bytes":3}` {
		t.Errorf("at the end: progress %+v, result %s", rec.Job.Progress, rec.Job.Result)
	}
}

func TestBadSteps(t *testing.T) {
	t.Parallel()
	do := func(context.Context, *job.Run[none]) error { return nil }
	for name, steps := range map[string][]step{
		"none":       nil,
		"no name":    {{Do: do}},
		"no do":      {{Name: "a"}},
		"same names": {{Name: "a", Do: do}, {Name: "a", Do: do}},
		"two points": {{Name: "a", Do: do, Point: true}, {Name: "b", Do: do, Point: true}},
	} {
		if _, err := job.NewRecord(steps); !droveway.Is(err, droveway.Internal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
