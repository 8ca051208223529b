package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
)

func machineOf(t *testing.T, disks ...[]byte) (*Report, error) {
	t.Helper()
	var images []*format.Image
	for _, b := range disks {
		i, err := format.New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, i)
	}
	return Disks(context.Background(), images, Options{Catalog: catalog(t)})
}

// TestDisks inspects machines whose system is on several disks: what spans them is joined,
// and it is said what is where, and which one boots. SYSTEMS 5.1
func TestDisks(t *testing.T) {
	t.Parallel()
	split := imagetest.Image(t, "split")
	system, usr := imagetest.Usr(t, split)
	first, second := imagetest.Group(split)
	onVar, vars := imagetest.Var(t, split)
	blank := make([]byte, 1<<20)
	for name, k := range map[string]struct {
		disks  [][]byte
		mounts []string // of the volumes that have one: name, where, on which disks
		holds  []string // number, whether it boots, and what the guest has of it
	}{
		"/usr and /var on the second": {
			[][]byte{system, usr},
			[]string{"disk1:p1 /boot/efi [1]", "disk1:p2 /boot [1]", "disk1:p3 / [1]", "disk2:p1 /usr [2]", "disk2:p2 /var [2]"},
			[]string{"1 true /boot/efi /boot /", "2 false /usr /var"},
		},
		"/var by its name alone": {
			[][]byte{onVar, vars},
			[]string{"disk1:p1 /boot/efi [1]", "disk1:p2 /boot [1]", "disk1:p3 / [1]", "disk1:p5 /usr [1]", "disk2:p2 /var [2]"},
			[]string{"1 true /boot/efi /boot / /usr", "2 false /var"},
		},
		"the system is second": {
			[][]byte{blank, split},
			[]string{"disk2:p1 /boot/efi [2]", "disk2:p2 /boot [2]", "disk2:p3 / [2]", "disk2:p5 /usr [2]", "disk2:p6 /var [2]"},
			[]string{"1 false ", "2 true /boot/efi /boot / /usr /var"},
		},
		"LVM over both": {
			[][]byte{first, second},
			[]string{"disk1:p1 /boot/efi [1]", "disk1:p2 /boot [1]", "disk1:p5 /usr [1]", "disk2:p2 /var [2]", "vg/root / [1 2]"},
			[]string{"1 true /boot/efi /boot /usr /", "2 false /var /"},
		},
		"a disk of data": {
			[][]byte{split, imagetest.MBR(blank)},
			[]string{"disk1:p1 /boot/efi [1]", "disk1:p2 /boot [1]", "disk1:p3 / [1]", "disk1:p5 /usr [1]", "disk1:p6 /var [1]"},
			[]string{"1 true /boot/efi /boot / /usr /var", "2 false "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := machineOf(t, k.disks...)
			if err != nil {
				t.Fatal(err)
			}
			if r.OS.Status != identify.Identified || r.OS.ID != "debian12" || r.System.Architecture != "x86_64" {
				t.Errorf("%s %s, %s: %v", r.OS.Status, r.OS.ID, r.System.Architecture, r.OS.Why)
			}
			var mounts, holds []string
			for _, v := range r.Volumes {
				if v.Mount != "" {
					mounts = append(mounts, fmt.Sprint(v.Name, " ", v.Mount, " ", v.Disks))
				}
			}
			for _, d := range r.Disks {
				holds = append(holds, fmt.Sprint(d.Number, " ", d.Boots, " ", strings.Join(d.Mounts, " ")))
				if d.Boots && (r.Image != d.Image || r.Disk.Kind != "gpt") {
					t.Errorf("the report is of %+v, %+v boots", r.Image, d)
				}
			}
			if diff := cmp.Diff(k.mounts, mounts); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(k.holds, holds); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(r.System.Firmware, []string{"uefi"}) {
				t.Errorf("firmware %v", r.System.Firmware)
			}
		})
	}
}

// TestOneDisk has what is said of one disk as it ever was.
func TestOneDisk(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(inspectBytes(t, imagetest.Image(t, "split")))
	if err != nil || bytes.Contains(b, []byte(`"disks"`)) || bytes.Contains(b, []byte("disk1:")) {
		t.Errorf("%v: %s", err, b)
	}
}

// TestPlaces reads names of disks as Linux gives them.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]int{
		"/dev/sda1": 0, "/dev/vdc2": 2, "/dev/xvdb1": 1, "/dev/sdaa1": 26, "/dev/nvme0n1p1": 0, "/dev/nvme0n2p1": 1, "/dev/nvme1n1p3": 1, "/dev/mmcblk1p1": 1,
	} {
		if got := place(diskName.FindStringSubmatch(spec)[1]); got != want {
			t.Errorf("%s is on disk %d, want %d", spec, got, want)
		}
	}
}

// TestManyDisks bounds what all the disks of a machine may take together. SYSTEMS 5.10
func TestManyDisks(t *testing.T) {
	split := imagetest.Image(t, "split")
	many := slices.Repeat([][]byte{split}, maxDrives)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := machineOf(t, many...)
	if err != nil || r.OS.Status != identify.Ambiguous || len(r.Volumes) > maxVolumes {
		t.Errorf("%d volumes, %v", len(r.Volumes), err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 64<<20 {
		t.Errorf("%d MiB are in use after it", kept>>20)
	}
	if _, err := machineOf(t, append(many, split)...); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "1 to 16") {
		t.Errorf("more than a machine has: %v", err)
	}
}

// FuzzDisks inspects two damaged disks as one.
func FuzzDisks(f *testing.F) {
	c, err := identify.Default()
	if err != nil {
		f.Fatal(err)
	}
	_, second := imagetest.Group(imagetest.Image(f, "split"))
	imagetest.Fuzz(f, func(b []byte) {
		first, _ := imagetest.Group(b)
		var images []*format.Image
		for _, b := range [][]byte{first, second} {
			i, err := format.New(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return
			}
			images = append(images, i)
		}
		if _, err := Disks(context.Background(), images, Options{Catalog: c}); droveway.Is(err, droveway.Internal) {
			panic(err)
		}
	}, "split")
}
