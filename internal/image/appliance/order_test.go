package appliance

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/kernel"
	"github.com/droveway/droveway/internal/image/repair"
)

// TestChoose takes files where they are enough, and programs where they are asked for.
func TestChoose(t *testing.T) {
	t.Parallel()
	s := repair.Step{
		Name: "initramfs", Enough: true, Run: [][]string{{"update-initramfs"}}, Makes: []string{"/boot/i"},
		Files: []repair.File{{Path: "/etc/modules", Old: "a", Was: "x", Text: "ab"}, {Path: "/boot/i", Append: []string{"/lib/m"}}},
	}
	list := repair.File{Path: "/etc/modules", Was: "x", Text: "ab"}
	for _, k := range []struct {
		name         string
		enough, full bool
		want         wire.Step
	}{
		{"files", true, false, wire.Step{Name: "initramfs", Files: []repair.File{list, {Path: "/boot/i", Append: []string{"/lib/m"}}}}},
		{"all is asked for", true, true, wire.Step{Name: "initramfs", Files: []repair.File{list}, Run: s.Run, Keep: s.Makes}},
		{"files are not enough", false, false, wire.Step{Name: "initramfs", Files: []repair.File{list}, Run: s.Run, Keep: s.Makes}},
	} {
		s.Enough = k.enough
		got, notes, err := choose(s, nil, k.full)
		if diff := cmp.Diff(k.want, got); diff != "" || err != nil || len(notes) > 0 {
			t.Errorf("%s: %v %v\n%s", k.name, err, notes, diff)
		}
	}
}

// TestCards names only cards that the machine has.
func TestCards(t *testing.T) {
	t.Parallel()
	const rule = "ATTR{address}==\"${mac%d}\"\n"
	one, two := strings.ReplaceAll(rule, "%d", "1"), strings.ReplaceAll(rule, "%d", "2")
	for _, k := range []struct {
		name, path, text string
		macs             []string
		want             string
		ok               bool
	}{
		{"a link", "/a.link", "MACAddress=${mac1}\n", []string{"AA:BB"}, "MACAddress=aa:bb\n", true},
		{"a link without an address", "/a.link", "[Match]\nMACAddress=${mac2}\n", []string{"aa"}, "[Match]\nPath=*pci-0000:00:15.0\n", true},
		{"rules", "/a.rules", one + two, []string{"aa", "bb"}, "ATTR{address}==\"aa\"\nATTR{address}==\"bb\"\n", true},
		{"rules, one without an address", "/a.rules", one + two, []string{"aa"}, "ATTR{address}==\"aa\"\nKERNELS==\"0000:00:15.0\"\n", true},
		{"rules, one for no card", "/a.rules", one + "${mac9}\n", []string{"aa"}, "ATTR{address}==\"aa\"\n", true},
		{"rules for no card", "/a.rules", "x ${mac0}\n", nil, "", false},
		{"a link for one card too many", "/a.link", "MACAddress=${mac9}\n", nil, "", false},
		{"another file", "/a", "mac is ${mac2}\n", []string{"aa"}, "", false},
		{"a number out of reach", "/a.link", "${mac99999999999999999999}\n", []string{"aa"}, "", false},
		{"nothing", "/a", "", nil, "", true},
	} {
		if got, ok := fillCards(repair.File{Path: k.path, Text: k.text}, k.macs); ok != k.ok || ok && got != k.want {
			t.Errorf("%s: %q %v", k.name, got, ok)
		}
	}
}

// layoutOf is the layout of a report without an image.
func layoutOf(root string, fstab []inspect.Mount, volumes ...inspect.Volume) (wire.Disk, error) {
	var parts []disk.Part
	for n := range len(volumes) {
		parts = append(parts, disk.Part{Number: n + 1})
	}
	return diskOf(context.Background(), Request{Report: &inspect.Report{Disk: disk.Table{Parts: parts}, Volumes: volumes, System: inspect.System{Root: root, Fstab: fstab}}}, nil)
}

// TestDisk mounts what belongs to the system, the outer first, and nothing else.
func TestDisk(t *testing.T) {
	t.Parallel()
	got, err := layoutOf("p2[@]", []inspect.Mount{
		{Path: "/boot/efi", Volume: "p1"},
		{Path: "/", Volume: "p2", Options: "subvol=@"},
		{Path: "/home", Volume: "p2", Options: "subvol=@home"},
		{Path: "/boot", Volume: "p3"},
		{Path: "/var", Volume: "p2", Options: "rw,subvolid=7,noatime"},
		{Path: "none", Volume: "p4"},
		{Path: "/usr", Volume: ""},
		{Path: "/boot/", Volume: "p1"},
	}, inspect.Volume{Name: "p1", Kind: "vfat", UUID: "AB-CD"}, inspect.Volume{Name: "p2", Kind: "btrfs", UUID: "ee", Label: "a/b"}, inspect.Volume{Name: "p3", Kind: "ext4"})
	want := wire.Disk{
		Mounts: []wire.Mount{
			{Device: "/dev/vda2", Path: "/", Kind: "btrfs", Options: "subvol=@"},
			{Device: "/dev/vda3", Path: "/boot", Kind: "ext4"},
			{Device: "/dev/vda2", Path: "/var", Kind: "btrfs", Options: "subvolid=7"},
			{Device: "/dev/vda1", Path: "/boot/efi", Kind: "vfat"},
		},
		Links: map[string]string{"by-uuid/AB-CD": "/dev/vda1", "by-uuid/ee": "/dev/vda2"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestNotFit says of which images nothing can be changed.
func TestNotFit(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		root  string
		v     inspect.Volume
		words string
	}{
		"no root": {"", inspect.Volume{Name: "p1", Kind: "ext4"}, "nothing can be changed"},
		"UFS":     {"p1", inspect.Volume{Name: "p1", Kind: "ufs"}, `"ufs" on p1`},
	} {
		if _, err := layoutOf(k.root, nil, k.v); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), k.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lines := []inspect.Mount{{Path: "/srv/share", Volume: "p2"}}
	if _, err := layoutOf("p1", lines, inspect.Volume{Name: "p1", Kind: "ext4"}, inspect.Volume{Name: "p2", Kind: ntfs}); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("NTFS in a Linux: %v", err)
	}
	root := &inspect.Report{Volumes: []inspect.Volume{{Name: "p1", Kind: ntfs}}, System: inspect.System{Root: "p1"}}
	if _, _, err := orderFor(t.Context(), Request{Plan: &repair.Plan{Family: "debian"}, Report: root}, nil); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("a Linux on NTFS: %v", err)
	}
}

// TestTargets writes tables as the kernel takes them.
func TestTargets(t *testing.T) {
	t.Parallel()
	l := &devices{report: &inspect.Report{Disk: disk.Table{Parts: []disk.Part{{Number: 2}}}}}
	for _, k := range []struct {
		piece disk.Piece
		want  wire.Target
	}{
		{disk.Piece{Start: 1024, Size: 2048, Stripe: 2048, Legs: []disk.Leg{{Volume: "p2", Base: 4096}}}, wire.Target{Start: 2, Size: 4, Kind: "linear", Params: "/dev/vda2 8"}},
		{disk.Piece{Size: 4096, Stripe: 512, Legs: []disk.Leg{{Volume: "p2", Base: 512}, {Volume: "disk"}}}, wire.Target{Size: 8, Kind: "striped", Params: "2 1 /dev/vda2 1 /dev/vda 0"}},
	} {
		if got, err := l.target(k.piece); err != nil || got != k.want {
			t.Errorf("%+v: %v", got, err)
		}
	}
}

// TestSlim leaves a program that still runs.
func TestSlim(t *testing.T) {
	t.Parallel()
	whole, source := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"it runs\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", whole, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := slim(whole)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(whole); err != nil || int64(len(b)) > info.Size()*4/5 {
		t.Errorf("%d bytes of %d are left (%v)", len(b), info.Size(), err)
	}
	small := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(small, b, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(small).CombinedOutput(); err != nil || string(out) != "it runs\n" {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := slim("/etc/passwd"); err == nil {
		t.Error("a text is taken for a program")
	}
	if dynamic := "/bin/sh"; isDynamic(t, dynamic) {
		if _, err := slim(dynamic); !droveway.Is(err, droveway.Unsupported) {
			t.Errorf("a program with libraries: %v", err)
		}
	}
}

func isDynamic(t *testing.T, path string) bool {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Section(".interp") != nil
}

// TestTranscript believes an appliance only so far.
func TestTranscript(t *testing.T) {
	t.Parallel()
	r := &transcript{request: Request{Plan: &repair.Plan{Steps: []repair.Step{{Name: "fstab"}}}}, total: 4, result: &Result{}}
	r.begin("start")
	for range 100 {
		r.take(wire.Event{Step: "x"})
	}
	if got := r.step(); got != "unmount" {
		t.Errorf("after too many steps it is at %q", got)
	}
	for range maxChanges + 10 {
		r.take(wire.Event{Change: &Change{}})
	}
	r.take(wire.Event{Said: strings.Repeat("x", maxLog) + "end"})
	kept, err := json.Marshal(r.result.Changes)
	if err != nil || len(kept) > maxChanges+len(r.result.Changes)+2 || len(kept) < maxChanges-100 || len(r.result.Log) > maxLog || !strings.HasSuffix(r.result.Log, "end\n") {
		t.Errorf("%d changes, %d bytes of log", len(r.result.Changes), len(r.result.Log))
	}
	r.take(wire.Event{Failed: &wire.Failure{What: "first"}})
	r.take(wire.Event{Failed: &wire.Failure{What: "second"}})
	if r.failed.What != "first" || r.failed.Kind != droveway.Internal {
		t.Errorf("%+v", r.failed)
	}
}

// TestNoKernel says what to do where there is none, or one without what an image needs.
func TestNoKernel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := findKernel(dir); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "--appliance-kernel") {
		t.Errorf("none: %v", err)
	}
	disk := wire.Disk{Mounts: []wire.Mount{{Kind: "btrfs"}}}
	if _, err := load(&kernel.Kernel{}, disk); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "--appliance-kernel") {
		t.Errorf("one without modules: %v", err)
	}
}

// TestInitrd says what is wrong before anything starts.
func TestInitrd(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := New(Config{Init: "/nowhere"}).writeInitrd(&b, wire.Order{}, nil, nil); err == nil {
		t.Error("a program that is not there is taken")
	}
	_, err := New(Config{}).Repair(context.Background(), Request{Image: "/nowhere", Plan: &repair.Plan{}, Report: &inspect.Report{}})
	if !droveway.Is(err, droveway.NotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
}
