package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

func TestEventsGoOnWhereTheReaderStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i := range 6 {
		e := droveway.Event{Type: fmt.Sprintf("t.%d", i), Source: "server", Subject: fmt.Sprintf("machine/m%d", i%2)}
		must(t, w.conn.Publish(ctx, e))
	}
	enough := errors.New("enough")
	read := func(since uint64, subject string, n int) (types []string, last uint64) {
		err := w.admin.Events(ctx, since, subject, func(seq uint64, e droveway.Event) error {
			types, last = append(types, e.Type), seq
			if len(types) == n {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		return types, last
	}
	got, last := read(0, "", 2)
	if d := cmp.Diff([]string{"t.0", "t.1"}, got); d != "" || last != 2 {
		t.Errorf("the first events, up to number %d: %s", last, d)
	}
	got, _ = read(last, "", 4)
	if d := cmp.Diff([]string{"t.2", "t.3", "t.4", "t.5"}, got); d != "" {
		t.Error(d)
	}
	if status, body := w.do(t, "GET", "/v1/events", "", "Last-Event-ID", "x"); status != 422 && status != 400 {
		t.Errorf("a number that is none: status %d: %s", status, body)
	}
	got, _ = read(1, "machine/m0", 2)
	if d := cmp.Diff([]string{"t.2", "t.4"}, got); d != "" {
		t.Error(d)
	}
}

func TestJobIsWatchedToItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.systems.jobs = make(chan droveway.Job, 3)
	for _, s := range []droveway.JobState{droveway.JobPending, droveway.JobRunning, droveway.JobSucceeded} {
		w.systems.jobs <- droveway.Job{Meta: droveway.Meta{Name: "job-1"}, State: s}
	}
	var states []droveway.JobState
	last, err := w.admin.WatchJob(context.Background(), "job-1", func(j droveway.Job) { states = append(states, j.State) })
	must(t, err)
	if last.State != droveway.JobSucceeded || len(states) != 3 {
		t.Errorf("saw %v", states)
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	w.systems.log = "booting\nlogin:\n"
	m := droveway.Machine{Meta: droveway.Meta{Name: "m"}}
	must(t, w.fleet.Machines.Create(ctx, "m", m))
	_, err := w.admin.Console(ctx, "m", false)
	wantKind(t, err, droveway.Conflict) // it is nowhere yet

	move := func(host string, token uint64) {
		_, err := w.fleet.Machines.Update(ctx, "m", func(m *droveway.Machine) error {
			m.Status.Host, m.Status.Token = host, token
			return nil
		})
		must(t, err)
	}
	move("a", 1)
	r, err := w.admin.Console(ctx, "m", false)
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	if string(got) != w.systems.log {
		t.Errorf("console says %q", got)
	}

	r, err = w.admin.Console(ctx, "m", true)
	must(t, err)
	defer r.Close()
	lines := bufio.NewScanner(r)
	for range 2 {
		lines.Scan()
	}
	move("b", 2) // the log of the new instance comes from its beginning
	if !lines.Scan() || lines.Text() != "booting" {
		t.Errorf("after a move the console says %q: %v", lines.Text(), lines.Err())
	}
}
