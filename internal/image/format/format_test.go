package format

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/imagetest"
)

var images = []string{"qcow2", "qcow2-zlib", "qcow2-zstd", "qcow2-extended", "vmdk", "vmdk-stream", "vhd", "vhd-fixed", "vhdx", "ova"}

// disk is what all images in testdata hold.
func disk() []byte {
	b := make([]byte, 3<<20)
	copy(b, "boot")
	for i := range 200_000 {
		c := byte('x')
		if i < 20_000 {
			c = byte(i * i >> 5)
		}
		b[1<<20+i] = c
	}
	copy(b[len(b)-3:], "end")
	return b
}

// TestFormatsAgree reads the same disk out of every format. SYSTEMS 5.8.
func TestFormatsAgree(t *testing.T) {
	want := disk()
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			b := imagetest.Image(t, name)
			i, err := New(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.NewSectionReader(i, 0, i.Size))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes differ from the %d of the disk (%v)", len(got), len(want), err)
			}
			if n, err := i.ReadAt(make([]byte, 100), i.Size-3); n != 3 || err != io.EOF {
				t.Errorf("at the end it reads %d, %v", n, err)
			}
		})
	}
}

// TestRefused covers images that would lead out of themselves, or say what
// cannot be. SYSTEMS 5.10.
func TestRefused(t *testing.T) {
	put := func(at int, v any) func([]byte) []byte {
		return func(b []byte) []byte {
			var w bytes.Buffer
			_ = binary.Write(&w, binary.BigEndian, v)
			copy(b[at:], w.Bytes())
			return b
		}
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	for name, k := range map[string]struct {
		image  string
		damage func([]byte) []byte
		kind   droveway.Kind
		says   string
	}{
		"backing file":      {"qcow2", put(8, uint64(0x200)), droveway.Invalid, "backing file"},
		"external data":     {"qcow2", put(72, uint64(4)), droveway.Invalid, "another file"},
		"encrypted":         {"qcow2", put(32, uint32(1)), droveway.Unsupported, "encrypted"},
		"8 EiB":             {"qcow2", put(24, uint64(1<<63-512)), droveway.Invalid, "virtual size"},
		"size 0":            {"qcow2", put(24, uint64(0)), droveway.Invalid, "virtual size"},
		"absurd clusters":   {"qcow2", put(20, uint32(63)), droveway.Invalid, "clusters"},
		"first table short": {"qcow2", put(36, uint32(0)), droveway.Invalid, "first table"},
		"unknown feature":   {"qcow2", put(72, uint64(1<<40)), droveway.Unsupported, "features"},
		"vhd differencing":  {"vhd", func(b []byte) []byte { return put(len(b)-512+60, uint32(4))(b) }, droveway.Invalid, "parent"},
		"vhd 8 EiB":         {"vhd", func(b []byte) []byte { return put(len(b)-512+48, uint64(1<<63-512))(b) }, droveway.Invalid, "virtual size"},
		"vhdx without log":  {"vhdx", put(64<<10+100, uint8(1)), "", ""}, // the other header serves
		"vmdk stream cut":   {"vmdk-stream", put(56, ^uint64(0)), droveway.Invalid, "truncated"},
		"vmdk of a snapshot": {"vmdk", func(b []byte) []byte {
			return bytes.Replace(b, []byte("parentCID=ffffffff"), []byte("parentCID=12345678"), 1)
		}, droveway.Invalid, "snapshot"},
		"ova cut":         {"ova", cut(4096), droveway.Invalid, "truncated"},
		"ova that climbs": {"ova", func(b []byte) []byte { return climb(b) }, droveway.Invalid, "plain names"},
		"ova of parts":    {"ova", func([]byte) []byte { return parts(t) }, droveway.Invalid, "none is whole"},
		"tiny":            {"qcow2", cut(100), droveway.Invalid, "too small"},
	} {
		t.Run(name, func(t *testing.T) {
			b := k.damage(imagetest.Image(t, k.image))
			_, err := New(bytes.NewReader(b), int64(len(b)))
			if droveway.KindOf(err) != k.kind || err != nil && !strings.Contains(err.Error(), k.says) {
				t.Errorf("error %v, want kind %q that says %q", err, k.kind, k.says)
			}
		})
	}
}

// climb renames the first member of a tar archive, and mends its checksum.
func climb(b []byte) []byte {
	copy(b, "../m\x00")
	sum := 8 * int(' ')
	for i, c := range b[:512] {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// parts is an archive of two disks that say they are parts of each other.
func parts(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range []string{"ab", "ba"} {
		text := "# Disk DescriptorFile\nparentCID=ffffffff\nRW 1 FLAT \"" + n[1:] + ".vmdk\"\n" + strings.Repeat("#\n", 300)
		err := w.WriteHeader(&tar.Header{Name: n[:1] + ".vmdk", Size: int64(len(text)), Mode: 0o600, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, text)
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

// TestExtents opens the files that a descriptor names, and no others.
func TestExtents(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	flat := strings.Repeat("0123456789abcdef", 64)
	write("a-flat.vmdk", flat)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(flat), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "link.vmdk")); err != nil {
		t.Fatal(err)
	}
	head := "# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
	good := write("good.vmdk", head+"RW 1 FLAT \"a-flat.vmdk\" 1\nRW 2 ZERO\n"+strings.Repeat("#\n", 300))
	i, err := Open(good)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	got, err := io.ReadAll(io.NewSectionReader(i, 0, i.Size))
	if want := flat[512:] + strings.Repeat("\x00", 1024); err != nil || string(got) != want {
		t.Errorf("it reads %d bytes, %v", len(got), err)
	}
	for name, line := range map[string]string{
		"outside": "RW 2 FLAT \"" + secret + "\" 0", "climbing": `RW 2 FLAT "../secret" 0`, "link": `RW 2 FLAT "link.vmdk" 0`,
		"missing": `RW 2 FLAT "none.vmdk" 0`, "short": `RW 9 FLAT "a-flat.vmdk" 0`, "device": `RW 2 FLAT "." 0`, "itself": `RW 2 SPARSE "good.vmdk"`,
	} {
		p := write("bad-"+name+".vmdk", head+line+"\n"+strings.Repeat("#\n", 300))
		if _, err := Open(p); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// TestSourceUntouched compares the file before and after. SYSTEMS 5.9.
func TestSourceUntouched(t *testing.T) {
	p := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(p, imagetest.Image(t, "qcow2-zlib"), 0o400); err != nil {
		t.Fatal(err)
	}
	before := fileSum(t, p)
	i, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(i, 0, i.Size)); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if fileSum(t, p) != before {
		t.Error("reading has changed the file")
	}
}

func fileSum(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func exercise(b []byte) {
	i, err := New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	p := make([]byte, 128<<10)
	for at := int64(0); at < min(i.Size, 4<<20); at += int64(len(p)) {
		_, _ = i.ReadAt(p, at)
	}
	_, _ = i.ReadAt(p, i.Size-10)
	_, _ = i.ReadAt(p, i.Size/2)
}

func FuzzFormats(f *testing.F) { imagetest.Fuzz(f, exercise, images...) }

func FuzzDescriptor(f *testing.F) {
	f.Add([]byte("# Disk DescriptorFile\nparentCID=ffffffff\nRW 1 FLAT \"x\" 1\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseDescriptor(b) })
}
