package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

// made is the test's disk in another format.
func made(t *testing.T, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "out")
	if err := os.WriteFile(raw, disk(), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, append(append([]string{"convert", "-f", "raw"}, args...), raw, out)...)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// archive packs names and contents, in pairs.
func archive(t *testing.T, pairs ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		contents := pairs[i+1].([]byte)
		err := w.WriteHeader(&tar.Header{Name: pairs[i].(string), Size: int64(len(contents)), Mode: 0o644, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = w.Write(contents)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// formats are the test's disk in every format.
func formats(t *testing.T) map[string]sample {
	t.Helper()
	stream := made(t, "-O", "vmdk", "-o", "subformat=streamOptimized")
	return map[string]sample{
		"raw":       {disk(), "raw", true},
		"qcow2":     {qcow2(t), "qcow2", true},
		"zlib":      {made(t, "-c", "-O", "qcow2"), "qcow2", true},
		"zstd":      {made(t, "-c", "-O", "qcow2", "-o", "compression_type=zstd"), "qcow2", true},
		"vmdk":      {made(t, "-O", "vmdk"), "vmdk", false},
		"stream":    {stream, "vmdk", false},
		"vhd":       {made(t, "-O", "vpc", "-o", "force_size=on"), "vhd", false},
		"vhd-fixed": {made(t, "-O", "vpc", "-o", "subformat=fixed,force_size=on"), "vhd", false},
		"vhdx":      {made(t, "-O", "vhdx"), "vhdx", false},
		"tar":       {archive(t, "a.vmdk", stream), "tar", false},
		"ova":       {archive(t, "m.ovf", []byte("<Envelope/>"), "a.vmdk", stream, "m.mf", []byte("SHA256(a.vmdk)= "+sum(stream))), "ova", false},
	}
}

type sample struct {
	file   []byte
	format string
	kept   bool
}

// TestFormatsAgree imports one disk in every format: the guest's bytes are the same
// each time. SYSTEMS 5.8.
func TestFormatsAgree(t *testing.T) {
	t.Parallel()
	want := filepath.Join(t.TempDir(), "want")
	if err := os.WriteFile(want, disk(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range formats(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := openLibrary(t, t.TempDir())
			img, err := l.Import(t.Context(), Order{Name: "a", SHA256: strings.ToUpper(sum(c.file))}, bytes.NewReader(c.file))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(l.path("a"))
			if err != nil {
				t.Fatal(err)
			}
			if img.Source.Format != c.format || img.Source.SHA256 != sum(c.file) || img.SHA256 != sum(b) || img.Bytes != int64(len(b)) {
				t.Errorf("image %+v from %+v", img, img.Source)
			}
			if c.kept && !bytes.Equal(b, c.file) {
				t.Error("the file is not kept as it is")
			}
			if !c.kept && img.Format != droveway.QCOW2 {
				t.Errorf("it became %s", img.Format)
			}
			tool(t, "compare", "-f", "raw", "-F", string(img.Format), want, l.path("a"))
		})
	}
}

// damages are ways to spoil a file: cuts, and bits that flip where something is.
func damages(file []byte) map[string][]byte {
	all := map[string][]byte{}
	for _, n := range []int{len(file) / 4, len(file) / 2, len(file) - 512, len(file) - 1} {
		all[fmt.Sprintf("cut to %d", n)] = file[:n]
	}
	var places []int
	for at := 0; at < len(file); at += 512 {
		if end := min(at+512, len(file)); !bytes.Equal(file[at:end], make([]byte, end-at)) {
			places = append(places, at)
		}
	}
	random := rand.New(rand.NewPCG(5, 10))
	for range 8 {
		b := bytes.Clone(file)
		at := places[random.IntN(min(len(places), 8))] + random.IntN(512)
		at = min(at, len(b)-1)
		b[at] ^= 1 << random.IntN(8)
		all[fmt.Sprintf("bit at %d", at)] = b
	}
	return all
}

// TestDamaged imports images of every format that were cut, or whose bits have
// flipped: the checksum tells, and without one an import fails for a reason that
// concerns the image, or its disk has the size it says. SYSTEMS 5.9, 5.10.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, c := range formats(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := openLibrary(t, dir)
			for damage, file := range damages(c.file) {
				before := sum(file)
				_, err := l.Import(t.Context(), Order{Name: "a", SHA256: sum(c.file)}, bytes.NewReader(file))
				wantError(t, err, droveway.Invalid, "as ordered")
				img, err := l.Import(t.Context(), Order{Name: "a"}, bytes.NewReader(file))
				if kind := droveway.KindOf(err); err != nil && (kind != droveway.Invalid && kind != droveway.Unsupported || !strings.HasPrefix(err.Error(), "import image a: ")) {
					t.Errorf("%s: %v of kind %s", damage, err, kind)
				}
				if err == nil {
					tool(t, "info", "-f", string(img.Format), l.path("a"))
					if err := l.Remove("a"); err != nil {
						t.Error(err)
					}
				}
				if left := names(t, dir); len(left) != 0 || sum(file) != before {
					t.Errorf("%s: left %v", damage, left)
				}
			}
		})
	}
}

// TestHostile imports what nobody should. SYSTEMS 5.10.
func TestHostile(t *testing.T) {
	t.Parallel()
	backed := qcow2(t)
	copy(backed[8:], []byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 11})
	copy(backed[512:], "/etc/shadow")
	huge := qcow2(t)
	copy(huge[24:], []byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0})
	vmdk := made(t, "-O", "vmdk")
	descriptor := []byte("# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 6144 FLAT \"/etc/shadow\" 0\n" + strings.Repeat("#\n", 300))
	for name, c := range map[string]struct {
		order Order
		file  []byte
		says  string
	}{
		"backing file":   {Order{}, backed, "backing file"},
		"8 EiB":          {Order{}, huge, "virtual size"},
		"another sum":    {Order{SHA256: sum(nil)}, disk(), "as ordered"},
		"no sum":         {Order{SHA256: "abc"}, disk(), "64 hexadecimal"},
		"foreign extent": {Order{}, descriptor, "/etc/shadow"},
		"extent in tar":  {Order{}, archive(t, "a.vmdk", descriptor), "/etc/shadow"},
		"climbing":       {Order{}, archive(t, "../a.vmdk", vmdk), "plain names"},
		"truncated":      {Order{}, made(t, "-O", "vhdx")[:3<<20], "truncated"},
		"wrong manifest": {Order{}, archive(t, "a.vmdk", vmdk, "m.mf", []byte("SHA256(a.vmdk)= "+sum(nil))), "manifest says"},
		"two disks":      {Order{}, archive(t, "a.vmdk", vmdk, "b.vmdk", vmdk), "2 disks"},
		"third of two":   {Order{Disk: "3"}, archive(t, "a.vmdk", vmdk, "b.vmdk", vmdk), "1 a.vmdk, 2 b.vmdk"},
		"gzip":           {Order{}, append([]byte("\x1f\x8b"), make([]byte, 4096)...), "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c.order.Name = "a"
			_, err := openLibrary(t, dir).Import(t.Context(), c.order, bytes.NewReader(c.file))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
			if left := names(t, dir); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// TestChosenDisk imports the second disk of an archive.
func TestChosenDisk(t *testing.T) {
	t.Parallel()
	l := openLibrary(t, t.TempDir())
	other := bytes.Repeat([]byte{0x55, 0xaa}, 4096)
	for _, choice := range []string{"2", "b.img"} {
		img, err := l.Import(t.Context(), Order{Name: "a", Disk: choice}, bytes.NewReader(archive(t, "a.vmdk", made(t, "-O", "vmdk"), "b.img", other)))
		if err != nil {
			t.Fatal(err)
		}
		if img.Size != int64(len(other)) || img.Source.Member != "b.img" {
			t.Errorf("%s: %d bytes of %q", choice, img.Size, img.Source.Member)
		}
		if err := l.Remove("a"); err != nil {
			t.Fatal(err)
		}
	}
}
