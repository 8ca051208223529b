package appliance

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/registry"
	"github.com/droveway/droveway/internal/image/repair"
)

// ofWindows asks for the repair of a Windows on the second partition.
func ofWindows(p repair.Plan) Request {
	p.Family = "windows"
	return Request{Plan: &p, Report: &inspect.Report{
		Disk:    disk.Table{Parts: []disk.Part{{Number: 2}}},
		Volumes: []inspect.Volume{{Name: "p2", Kind: ntfs, UUID: "AA"}}, System: inspect.System{Root: "p2", Init: "windows"},
	}}
}

// TestOrderForWindows hands on what a plan has for each hive.
func TestOrderForWindows(t *testing.T) {
	t.Parallel()
	order, _, err := orderFor(t.Context(), ofWindows(repair.Plan{Steps: []repair.Step{{
		Name: "tools", Registry: []repair.Entry{{Key: "k", Name: "n", Value: registry.Number(4)}}, Software: []repair.Entry{{Key: "s", Value: registry.Binary([]byte{1})}},
	}}}), nil)
	want := wire.Order{
		Disk: wire.Disk{Mounts: []wire.Mount{{Device: "/dev/vda2", Path: "/", Kind: ntfs}}, Links: map[string]string{"by-uuid/AA": "/dev/vda2"}},
		Steps: []wire.Step{{Name: "tools", Hives: []wire.Hive{
			{Path: "/Windows/System32/config/SYSTEM", Set: []wire.Value{{Key: "k", Name: "n", Type: 4, Data: []byte{4, 0, 0, 0}}}},
			{Path: "/Windows/System32/config/SOFTWARE", Set: []wire.Value{{Key: "s", Type: 3, Data: []byte{1}}}},
		}}},
	}
	if diff := cmp.Diff(want, order); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestRefusedWindows refuses before anything runs.
func TestRefusedWindows(t *testing.T) {
	t.Parallel()
	file := func(f repair.File) repair.Plan {
		return repair.Plan{Steps: []repair.Step{{Name: "driver", Files: []repair.File{f}}}}
	}
	for name, k := range map[string]struct {
		plan  repair.Plan
		kind  droveway.Kind
		words string
	}{
		"what stands against it": {repair.Plan{Findings: []repair.Finding{{Level: repair.Blocker, What: "hibernated", Why: "a", Advice: "shut it down"}}}, droveway.Conflict, "hibernated: a: shut it down"},
		"no disc of drivers":     {file(repair.File{Path: "/Windows/x.sys", From: repair.FromVirtioWin + "viostor/x.sys"}), droveway.Invalid, "--virtio-win"},
		"a file of the guest":    {file(repair.File{Path: "/Windows/x.sys", From: "/etc/shadow"}), droveway.Invalid, "nothing that is written"},
		"a text":                 {file(repair.File{Path: "/Windows/x.sys", Text: "x"}), droveway.Invalid, "nothing that is written"},
	} {
		if _, _, err := orderFor(t.Context(), ofWindows(k.plan), nil); !droveway.Is(err, k.kind) || !strings.Contains(err.Error(), k.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
