package repair

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/inspect"
)

// machineOf inspects disks as one machine, and plans for it.
func machineOf(t *testing.T, disks ...[]byte) (report *inspect.Report, p *Plan) {
	t.Helper()
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	var images []*format.Image
	for _, b := range disks {
		i, err := format.New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, i)
	}
	report, err = inspect.Disks(t.Context(), images, inspect.Options{Catalog: c, Then: func(r *inspect.Report, tree *filesystem.Tree) (err error) {
		p, err = Make(r, tree)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return report, p
}

// TestMirrorOverDisks plans for a system on halves of a mirror what an import does with
// the one that it repairs: the other is not needed. SYSTEMS 5.6
func TestMirrorOverDisks(t *testing.T) {
	t.Parallel()
	split := imagetest.Image(t, "../../inspect/testdata/split")
	const spare = 0xffff
	type halves [2]imagetest.Half // of the disks; no level: it is no member
	for name, k := range map[string]struct {
		root, boot halves
		boots      int // the disk; 0: it needs both
	}{
		"in step":                 {root: halves{{Level: 1, Events: 5}, {Level: 1, Events: 5, Role: 1}}, boots: 1},
		"in step, the other role": {root: halves{{Level: 1, Events: 5, Role: 1}, {Level: 1, Events: 5}}, boots: 1},
		"first is older":          {root: halves{{Level: 1, Events: 3}, {Level: 1, Events: 5, Role: 1}}, boots: 2},
		"first missed the last":   {root: halves{{Level: 1, Events: 4}, {Level: 1, Events: 5, Role: 1}}, boots: 2},
		"second is older":         {root: halves{{Level: 1, Events: 9}, {Level: 1, Events: 5, Role: 1}}, boots: 1},
		"first is a spare":        {root: halves{{Level: 1, Events: 5, Role: spare}, {Level: 1, Events: 5, Role: 1}}, boots: 2},
		"/boot in step":           {root: halves{{Level: 1, Events: 3}, {Level: 1, Events: 5, Role: 1}}, boot: halves{{Level: 1, Events: 7}, {Level: 1, Events: 7, Role: 1}}, boots: 2},
		"/boot opposed":           {root: halves{{Level: 1, Events: 3}, {Level: 1, Events: 5, Role: 1}}, boot: halves{{Level: 1, Events: 7}, {Level: 1, Events: 4, Role: 1}}, boots: 2},
		"/boot decides":           {root: halves{{Level: 1, Events: 5}, {Level: 1, Events: 5, Role: 1}}, boot: halves{{Level: 1, Events: 6}, {Level: 1, Events: 7, Role: 1}}, boots: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disks := [][]byte{bytes.Clone(split), bytes.Clone(split)}
			for i, b := range disks {
				if k.root[i].Level != 0 {
					k.root[i].RootInArray(b)
				}
				if k.boot[i].Level != 0 {
					k.boot[i].BootInArray(b)
				}
			}
			r, p := machineOf(t, disks...)
			together := strings.Contains(fmt.Sprint(p.Findings), "together")
			if together != (k.boots == 0) || together != (len(p.Steps) == 0) {
				t.Fatalf("steps %v, findings %v", p.Steps, p.Findings)
			}
			if together {
				return
			}
			for _, d := range r.Disks {
				if d.Boots != (d.Number == k.boots) {
					t.Errorf("disk %d boots: %t", d.Number, d.Boots)
				}
			}
			if alone := planOf(t, disks[k.boots-1]); fmt.Sprint(alone.Steps) != fmt.Sprint(p.Steps) || alone.Blocked() != p.Blocked() {
				t.Errorf("together %v, alone %v", p.Steps, alone.Steps)
			}
			if !strings.Contains(fmt.Sprint(p.Findings), fmt.Sprintf("boot from disk %d, ", k.boots)) {
				t.Errorf("findings %v", p.Findings)
			}
		})
	}
}

// TestMappedElsewhere leaves what crypttab names of other disks as it is, as an import
// of the disk alone does, and says so.
func TestMappedElsewhere(t *testing.T) {
	t.Parallel()
	r := identified("debian12", "debian")
	r.Volumes = []inspect.Volume{
		{Name: "disk1:p1", Kind: "ext4", UUID: "a", Mount: "/", Disks: []int{1}, Needs: []int{1}},
		{Name: "disk1:p2", Kind: "luks2", UUID: "b", Disks: []int{1}, Needs: []int{1}},
		{Name: "disk2:p1", Kind: "luks2", UUID: "c", Disks: []int{2}, Needs: []int{2}},
	}
	r.System.Crypttab = []inspect.Mapped{{Name: "home", Spec: "/dev/sda2", Volume: "disk1:p2"}, {Name: "data", Spec: "/dev/sdb1", Volume: "disk2:p1"}}
	p := plan(t, r, map[string]string{"/etc/crypttab": "home /dev/sda2 none luks\ndata /dev/sdb1 none luks\n"})
	expect(t, p, "warning: data is /dev/sdb1 of another disk")
	if f := p.named("crypttab").Files; len(f) != 1 || f[0].Text != "home UUID=b none luks\ndata /dev/sdb1 none luks\n" {
		t.Errorf("%+v", f)
	}
}
