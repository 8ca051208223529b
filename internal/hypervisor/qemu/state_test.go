package qemu

import (
	"fmt"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

func TestState(t *testing.T) {
	t.Parallel()
	blank := `[{"node-name":"d0-blank"}]`
	for _, c := range []struct {
		run, migration, nodes string
		block                 string
		incoming              bool
		want                  hypervisor.State
	}{
		{run: "running", want: hypervisor.Running},
		{run: "running", migration: "cancelled", want: hypervisor.Running},
		{run: "running", migration: "failed", want: hypervisor.Running},
		{run: "running", migration: "completed", incoming: true, want: hypervisor.Running},
		{run: "running", migration: "setup", want: hypervisor.Sending},
		{run: "running", migration: "active", want: hypervisor.Sending},
		{run: "running", migration: "cancelling", want: hypervisor.Sending},
		{run: "paused", want: hypervisor.Paused},
		{run: "prelaunch", want: hypervisor.Paused},
		{run: "paused", migration: "active", want: hypervisor.Sending},
		{run: "finish-migrate", migration: "active", want: hypervisor.Sending}, // not held back yet
		{run: "finish-migrate", migration: "pre-switchover", want: hypervisor.Held},
		{run: "finish-migrate", migration: "device", want: hypervisor.Held},
		{run: "finish-migrate", migration: "completed", want: hypervisor.Sent},
		{run: "finish-migrate", migration: "postcopy-active", want: hypervisor.Sent},
		{run: "finish-migrate", migration: "postcopy-paused", want: hypervisor.Sent},
		{run: "paused", migration: "postcopy-active", nodes: blank, incoming: true, want: hypervisor.Received},
		{run: "running", migration: "postcopy-active", incoming: true, want: hypervisor.Running},
		{run: "postmigrate", migration: "completed", want: hypervisor.Sent},
		{run: "postmigrate", migration: "cancelled", block: `[{"io-status":"ok"},{}]`, want: hypervisor.Paused}, // was paused when it was sent
		{run: "postmigrate", migration: "failed", block: `[{"io-status":"ok"},{"io-status":"failed"}]`, want: hypervisor.Stuck},
		{run: "io-error", migration: "active", want: hypervisor.Stuck}, // its memory is sent all the same
		{run: "inmigrate", incoming: true, want: hypervisor.Incoming},
		{run: "inmigrate", migration: "active", incoming: true, want: hypervisor.Incoming},
		{run: "paused", migration: "completed", nodes: blank, incoming: true, want: hypervisor.Received},
		{run: "paused", migration: "completed", nodes: `[{"node-name":"d0-local"}]`, incoming: true, want: hypervisor.Paused},
		{run: "io-error", want: hypervisor.Stuck},
		{run: "internal-error", want: hypervisor.Crashed},
		{run: "guest-panicked", want: hypervisor.Crashed},
		{run: "io-error", migration: "completed", nodes: blank, incoming: true, want: hypervisor.Received}, // its old disk failed
		{run: "io-error", migration: "completed", nodes: `[{"node-name":"d0-local"}]`, incoming: true, want: hypervisor.Stuck},
	} {
		t.Run(fmt.Sprintf("%s %s %t", c.run, c.migration, c.incoming), func(t *testing.T) {
			t.Parallel()
			spec := hypervisor.Spec{Incoming: c.incoming, Disks: []hypervisor.Disk{{Name: "root"}}}
			i, _ := fakeInstance(t, spec, map[string]string{
				"query-status":            fmt.Sprintf(`{"status":%q}`, c.run),
				"query-migrate":           fmt.Sprintf(`{"status":%q}`, c.migration),
				"query-named-block-nodes": c.nodes,
				"query-block":             c.block,
			})
			if got, err := i.State(t.Context()); err != nil || got != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}

// A guest that was sent may run on the other side: nothing here lets it run.
func TestSentGuestIsNeverContinued(t *testing.T) {
	t.Parallel()
	i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{
		"query-status": `{"status":"postmigrate"}`, "query-migrate": `{"status":"completed"}`, "cont": `{}`, "migrate_cancel": `{}`,
	})
	for verb, err := range map[string]error{
		"resume": i.Resume(t.Context()), "cancel": i.Cancel(t.Context()), "pause": i.Pause(t.Context()),
		"take over": i.TakeOver(t.Context(), nil),
	} {
		if !droveway.Is(err, droveway.Conflict) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if n := f.count("cont") + f.count("migrate_cancel"); n != 0 {
		t.Errorf("it was told %d times to go on", n)
	}
}

// A guest that has crashed is not told to go on, which QEMU would refuse; copies
// that an error holds up are.
func TestCrashedGuestIsNotContinued(t *testing.T) {
	t.Parallel()
	spec := hypervisor.Spec{Disks: []hypervisor.Disk{{Name: "root"}}}
	i, f := fakeInstance(t, spec, map[string]string{
		"query-status": `{"status":"guest-panicked"}`, "query-migrate": `{}`, "cont": `{}`, "qom-get": `"d0-top"`,
		"query-block-jobs": `[{"device":"d0-sync","paused":true,"io-status":"failed","status":"paused"}]`, "block-job-resume": `{}`,
	})
	if err := i.Resume(t.Context()); err != nil || f.count("cont") != 0 || f.count("block-job-resume") != 1 {
		t.Errorf("%v; told %d times to go on, its copy %d times", err, f.count("cont"), f.count("block-job-resume"))
	}
}

// SYSTEMS 6.6: the move of a guest that stands on an error of its disk goes on, and
// can be called off: else its memory would be sent on behind everybody's back.
func TestStuckGuestIsSentAndCalledBack(t *testing.T) {
	t.Parallel()
	i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{
		"query-status": `{"status":"io-error"}`, "query-migrate": `{"status":"active"}`, "migrate_cancel": `{}`,
	})
	f.then = map[string]map[string]string{"migrate_cancel": {"query-migrate": `{"status":"cancelled"}`}}
	if p, err := i.Sent(t.Context()); err != nil || p.State != hypervisor.Sending || p.Error != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if err := i.Cancel(t.Context()); err != nil || f.count("migrate_cancel") != 1 {
		t.Errorf("%v; called back %d times", err, f.count("migrate_cancel"))
	}
	if p, err := i.Sent(t.Context()); err != nil || p.State != hypervisor.Running {
		t.Errorf("%+v, %v", p, err)
	}
	if err := i.Cancel(t.Context()); err != nil || f.count("migrate_cancel") != 1 {
		t.Errorf("%v; called back %d times, though it is not sent", err, f.count("migrate_cancel"))
	}
}

func TestProgressOfMemory(t *testing.T) {
	t.Parallel()
	i, _ := fakeInstance(t, hypervisor.Spec{}, map[string]string{
		"query-status":  `{"status":"running"}`,
		"query-migrate": `{"status":"active","ram":{"total":100,"remaining":40,"mbps":8,"dirty-pages-rate":2,"page-size":4096,"dirty-sync-count":3}}`,
	})
	got, err := i.Sent(t.Context())
	want := hypervisor.MemoryProgress{State: hypervisor.Sending, Total: 100, Remaining: 40, Rate: 1e6, DirtyRate: 8192, Iterations: 3}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	i, _ = fakeInstance(t, hypervisor.Spec{}, map[string]string{
		"query-status": `{"status":"running"}`, "query-migrate": `{"status":"failed","error-desc":"no route"}`,
	})
	if got, err := i.Sent(t.Context()); err != nil || got.State != hypervisor.Running || got.Error != "no route" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHydration(t *testing.T) {
	t.Parallel()
	const job = `[{"device":"d0-sync","len":%d,"offset":%d,"ready":%t,"paused":%t,"io-status":%q,"status":%q,"error":%q%s}]`
	for name, c := range map[string]struct {
		drive, jobs, nodes, run string
		want                    hypervisor.Hydration
	}{
		"not begun":       {drive: "d0-blank", want: hypervisor.Hydration{Total: 100}},
		"just begun":      {drive: "d0-top", jobs: fmt.Sprintf(job, 0, 0, false, false, "ok", "running", "", ""), want: hypervisor.Hydration{Total: 100}},
		"under way":       {drive: "d0-top", jobs: fmt.Sprintf(job, 100, 30, false, false, "ok", "running", "", ""), want: hypervisor.Hydration{Done: 30, Total: 100}},
		"mirrored":        {drive: "d0-top", jobs: fmt.Sprintf(job, 90, 90, true, false, "ok", "ready", "", ""), want: hypervisor.Hydration{Done: 100, Total: 100, Ready: true}},
		"not synced":      {drive: "d0-top", jobs: fmt.Sprintf(job, 90, 90, true, false, "ok", "ready", "", `,"actively-synced":false`), want: hypervisor.Hydration{Done: 100, Total: 100}},
		"ready but stuck": {drive: "d0-top", run: "io-error", jobs: fmt.Sprintf(job, 90, 90, true, false, "ok", "ready", "", ""), want: hypervisor.Hydration{Done: 100, Total: 100}},
		"held up": {
			drive: "d0-top", jobs: fmt.Sprintf(job, 100, 30, false, true, "nospace", "paused", "", ""),
			want: hypervisor.Hydration{Done: 30, Total: 100, Paused: true, Error: "the copy of disk root is held up by an error (I/O status nospace)"},
		},
		"ended": {
			drive: "d0-origin", jobs: fmt.Sprintf(job, 100, 30, false, false, "ok", "concluded", "broken", ""),
			want: hypervisor.Hydration{Done: 30, Total: 100, Paused: true, Error: "the copy of disk root has ended: broken"},
		},
		"left, not tidied": {drive: "d0-local", nodes: `[{"node-name":"d0-origin"}]`, want: hypervisor.Hydration{Done: 100, Total: 100, Ready: true, Leaving: true}},
		"settled":          {drive: "d0-local", want: hypervisor.Hydration{Done: 100, Total: 100, Ready: true, Settled: true, Leaving: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := hypervisor.Spec{Disks: []hypervisor.Disk{{Name: "root", Size: 100}}}
			run, jobs, nodes := "running", "[]", "[]"
			if c.run != "" {
				run = c.run
			}
			if c.jobs != "" {
				jobs = c.jobs
			}
			if c.nodes != "" {
				nodes = c.nodes
			}
			i, _ := fakeInstance(t, spec, map[string]string{
				"query-status": fmt.Sprintf(`{"status":%q}`, run), "query-migrate": `{}`, "query-block-jobs": jobs,
				"query-named-block-nodes": nodes, "qom-get": fmt.Sprintf("%q", c.drive),
			})
			if got, err := i.Hydration(t.Context()); err != nil || got != c.want {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}
