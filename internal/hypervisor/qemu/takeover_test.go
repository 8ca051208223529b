package qemu

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A guest runs before its copy begins; while memory follows it is the other way
// round, for then QEMU may stand still once the guest runs.
func TestOrderOfATakeOver(t *testing.T) {
	t.Parallel()
	for status, want := range map[string][]string{
		"completed":       {"cont", "blockdev-del", "blockdev-mirror"},
		"postcopy-active": {"blockdev-mirror", "cont", "blockdev-del"},
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			spec := hypervisor.Spec{Incoming: true, Disks: []hypervisor.Disk{{Name: "root", Path: "/root", Format: droveway.Raw, Size: 1 << 20}}}
			i, f := fakeInstance(t, spec, map[string]string{
				"query-status": `{"status":"paused"}`, "query-migrate": `{"status":"` + status + `"}`, "query-block-jobs": `[]`,
				"query-named-block-nodes": `[{"node-name":"d0-blank"}]`, "qom-get": `"d0-blank"`,
				"blockdev-add": `{}`, "blockdev-del": `{}`, "qom-set": `{}`, "cont": `{}`, "blockdev-mirror": `{}`,
			})
			f.then = map[string]map[string]string{"qom-set": {"qom-get": `"d0-origin"`}}
			if err := i.TakeOver(t.Context(), []hypervisor.Origin{{Disk: "root", Address: "192.0.2.1:10809", Export: "root"}}); err != nil {
				t.Fatal(err)
			}
			got := f.only("cont", "blockdev-del", "blockdev-mirror")
			if got = slices.Compact(got); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// The source of a guest whose memory follows is done before the target has taken in what
// was sent: that is waited for. It was taken for a dead instance once.
func TestTakeOverWhileMemoryArrives(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"query-status": `{"status":"inmigrate"}`, "query-migrate": `{"status":"postcopy-active"}`, "query-block-jobs": `[]`,
		"query-named-block-nodes": `[{"node-name":"d0-blank"}]`, "qom-get": `"d0-blank"`,
		"blockdev-add": `{}`, "blockdev-del": `{}`, "qom-set": `{}`, "cont": `{}`, "blockdev-mirror": `{}`,
	}
	origins := []hypervisor.Origin{{Disk: "root", Address: "192.0.2.1:10809", Export: "root"}}
	spec := hypervisor.Spec{Incoming: true, Disks: []hypervisor.Disk{{Name: "root", Path: "/root", Format: droveway.Raw, Size: 1 << 20}}}
	i, f := fakeInstance(t, spec, answers)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := i.TakeOver(ctx, origins); !droveway.Is(err, droveway.Unavailable) || f.count("cont") > 0 {
		t.Errorf("memory that does not arrive: %v, told %d times to go on", err, f.count("cont"))
	}
	f.mu.Lock()
	f.then = map[string]map[string]string{"query-migrate": {"query-status": `{"status":"paused"}`}, "qom-set": {"qom-get": `"d0-origin"`}}
	f.mu.Unlock()
	if err := i.TakeOver(t.Context(), origins); err != nil || f.count("cont") != 1 {
		t.Errorf("memory that arrives late: %v, told %d times to go on", err, f.count("cont"))
	}
}

// The guest stands for a short last pass, if its memory gets there at all.
func TestLastPass(t *testing.T) {
	t.Parallel()
	for passes, want := range map[string]int{"2": 0, "3": 0, "4": 1} {
		i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{
			"query-status": `{"status":"running"}`, "migrate-set-parameters": `{}`,
			"query-migrate": `{"status":"active","ram":{"dirty-sync-count":` + passes + `}}`,
		})
		for range 2 {
			if _, err := i.Sent(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.count("migrate-set-parameters"); n != want {
			t.Errorf("after %s passes it was told %d times that it may take longer", passes, n)
		}
	}
}
