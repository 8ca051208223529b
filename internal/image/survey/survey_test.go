package survey

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raw is a disk of 1 MiB with an MBR signature.
func raw() []byte {
	b := bytes.Repeat([]byte("disk"), 256<<10)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// pieces makes a VMDK of several files, and gives the path of its descriptor.
func pieces(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	src, out := filepath.Join(dir, "raw"), filepath.Join(dir, "disk.vmdk")
	must(t, os.WriteFile(src, raw(), 0o600))
	if said, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", src, out).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, said)
	}
	return out
}

// TestWhole sends a VMDK of several files in one piece, which holds the same disk;
// its files do not change. SYSTEMS 5.8, 5.9.
func TestWhole(t *testing.T) {
	t.Parallel()
	path := pieces(t)
	before := sums(t, filepath.Dir(path))
	s, err := Open(path)
	must(t, err)
	defer s.Close()
	if d := cmp.Diff([]string{filepath.Join(filepath.Dir(path), "disk-flat.vmdk")}, s.Parts); d != "" {
		t.Errorf("parts (-want +got):\n%s", d)
	}
	whole, err := s.Whole()
	must(t, err)
	defer whole.Close()
	sent, err := New(whole, whole.Size())
	must(t, err)
	defer sent.Close()
	if sent.Format != "tar" || len(sent.Disks) != 1 || sent.Disks[0].Member != "disk.vmdk" {
		t.Fatalf("what is sent: %s, %+v", sent.Format, sent.Disks)
	}
	disk, err := sent.Read(sent.Disks[0])
	must(t, err)
	got, err := io.ReadAll(io.NewSectionReader(disk, 0, disk.Size))
	if err != nil || !bytes.Equal(got, raw()) {
		t.Errorf("%d bytes differ (%v)", len(got), err)
	}
	if d := cmp.Diff(before, sums(t, filepath.Dir(path))); d != "" {
		t.Errorf("the source has changed (-before +after):\n%s", d)
	}
}

func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	found := map[string][32]byte{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		found[e.Name()] = sha256.Sum256(b)
	}
	return found
}

// TestAlone opens a descriptor as it arrives at the server: the files beside it are
// others' images. SYSTEMS 5.10.
func TestAlone(t *testing.T) {
	t.Parallel()
	if _, err := OpenAlone(pieces(t)); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "another file") {
		t.Errorf("%v, want that its extent is another file", err)
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	b := raw()
	s, err := New(bytes.NewReader(b), int64(len(b)))
	must(t, err)
	p, err := s.Plan("web", "")
	must(t, err)
	want := droveway.ImportPlan{
		Source: droveway.ImageSource{Format: "raw", Bytes: 1 << 20},
		Images: []droveway.PlannedImage{{Name: "web", From: "raw", Format: droveway.Raw, Size: 1 << 20}},
	}
	if d := cmp.Diff(want, p); d != "" {
		t.Errorf("plan (-want +got):\n%s", d)
	}
	for _, choice := range []string{"0", "2", "-1", "x"} {
		if _, err := s.Plan("web", choice); !droveway.Is(err, droveway.NotFound) {
			t.Errorf("disk %s: %v", choice, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for says, b := range map[string][]byte{
		"empty": {}, "whole sectors": append(raw(), 1), "no disk image": []byte("notes"), "gzip": append([]byte("\x1f\x8b"), make([]byte, 1000)...), "VDI": append(make([]byte, 64), "\x7f\x10\xda\xbe and more than a sector of it"+strings.Repeat("x", 600)...),
	} {
		if _, err := New(bytes.NewReader(b), int64(len(b))); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want invalid that says %q", err, says)
		}
	}
	if _, err := Open(t.TempDir()); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a folder: %v", err)
	}
}

// flat is the descriptor of a disk that says its data are in another file.
func flat(extents ...string) []byte {
	text := "# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
	for _, e := range extents {
		text += "RW 1 FLAT \"" + e + "\" 0\n"
	}
	return []byte(text + strings.Repeat("#\n", 300))
}

// pack makes an archive of names and contents, in pairs.
func pack(t *testing.T, pairs ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		contents := pairs[i+1].([]byte)
		must(t, w.WriteHeader(&tar.Header{Name: pairs[i].(string), Size: int64(len(contents)), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write(contents)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// TestPartsOfEachOther has archives whose disks are parts of each other, or of
// themselves. SYSTEMS 5.10.
func TestPartsOfEachOther(t *testing.T) {
	t.Parallel()
	b := pack(t, "a.vmdk", flat("b.vmdk"), "b.vmdk", flat("a.vmdk"))
	if _, err := New(bytes.NewReader(b), int64(len(b))); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "none is whole") {
		t.Errorf("of each other: %v", err)
	}
	path := filepath.Join(t.TempDir(), "m.ova")
	must(t, os.WriteFile(path, b, 0o600))
	if _, err := OpenAlone(path); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("of each other, in a file: %v", err)
	}
	b = pack(t, "a.vmdk", flat("a.vmdk", "b.vmdk"), "b.vmdk", make([]byte, 512))
	s, err := New(bytes.NewReader(b), int64(len(b)))
	must(t, err)
	if len(s.Disks) != 1 || s.Disks[0].Member != "a.vmdk" || s.Disks[0].Size != 1024 {
		t.Errorf("of itself: %+v", s.Disks)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 62)
	for _, c := range []struct {
		name string
		n    int
		want []string
	}{
		{"web", 1, []string{"web"}}, {"web", 2, []string{"web-1", "web-2"}}, {long, 1, []string{long}}, {long, 2, nil}, {"Web", 2, nil}, {"web", 0, nil}, {"web", -1, nil},
	} {
		got, err := Names(c.name, c.n)
		if (err != nil) != (c.want == nil) || err == nil && !cmp.Equal(got, c.want) {
			t.Errorf("%d of %s: %v, %v", c.n, c.name, got, err)
		}
	}
}
