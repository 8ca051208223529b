package initramfs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"github.com/droveway/droveway"
)

// archive makes a cpio of files with these names.
func archive(names ...string) []byte {
	var files []file
	for _, n := range names {
		files = append(files, file{n, "content"})
	}
	return archiveOf(files...)
}

// archiveOf makes a cpio in the "newc" format.
func archiveOf(files ...file) []byte {
	var b bytes.Buffer
	for _, f := range append(files, file{name: cpioTrailer}) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", 1, 0o100644, 0, 0, 1, 0, len(f.text), 0, 0, 0, 0, len(f.name)+1, 0, f.name)
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
		b.WriteString(f.text)
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	return b.Bytes()
}

func pack(t testing.TB, b []byte, with func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := with(&out)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packers() map[string]func(io.Writer) (io.WriteCloser, error) {
	return map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		"lz4": func(w io.Writer) (io.WriteCloser, error) {
			z := lz4.NewWriter(w)
			return z, z.Apply(lz4.LegacyOption(true))
		},
	}
}

// TestCompressions reads what distributions make: microcode as it is, padding,
// then the packed rest.
func TestCompressions(t *testing.T) {
	main := archive("usr/lib/dracut/modules.txt", "lib/modules/6.1/kernel/drivers/block/virtio_blk.ko.xz", "lib/modules/6.1/virtio-pci.ko")
	for name, with := range packers() {
		t.Run(name, func(t *testing.T) {
			b := append(archive("kernel/x86/microcode/GenuineIntel.bin"), make([]byte, 512)...)
			got, err := Read(bytes.NewReader(append(b, pack(t, main, with)...)), nil)
			if err != nil {
				t.Fatal(err)
			}
			want := Summary{Kind: "dracut", Compression: []string{"", name}, Modules: map[string]bool{"virtio_blk": true, "virtio_pci": true}, Files: 4}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppended(t *testing.T) {
	for _, name := range []string{"gzip", "zstd"} {
		with := packers()[name]
		b := append(pack(t, archive("scripts/functions", strings.Repeat("long", 500)), with), make([]byte, 3)...)
		got, err := Read(bytes.NewReader(append(b, archive("lib/modules/1/virtio_net.ko")...)), nil)
		if err != nil || got.Kind != "initramfs-tools" || !got.Modules["virtio_net"] {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestStopsWhenItIsEnough(t *testing.T) {
	b := archive("init_functions", "a/virtio_blk.ko", "b", "c")
	got, err := Read(bytes.NewReader(b[:len(b)-40]), func(s *Summary) bool { return s.Modules["virtio_blk"] })
	if err != nil || got.Files != 2 || got.Kind != "mkinitcpio" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDamaged(t *testing.T) {
	good := archive("a", "b")
	for name, b := range map[string][]byte{
		"cut": good[:120], "no cpio": []byte("something else entirely"), "gzip cut": pack(t, good, packers()["gzip"])[:30],
		"bad size": bytes.Replace(good, []byte("070701"), []byte("070701zz"), 1),
	} {
		if _, err := Read(bytes.NewReader(b), nil); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// TestBomb stops at the limit. A gigabyte of zeros packs to a megabyte.
func TestBomb(t *testing.T) {
	head := strings.Replace(string(archive("x")[:112]), "00000007", "7fffffff", 1)
	b := pack(t, []byte(head), packers()["gzip"])
	if _, err := Read(bytes.NewReader(b), nil); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func FuzzInitramfs(f *testing.F) {
	b := archive("scripts/functions", "a/virtio_blk.ko")
	f.Add(b)
	for _, with := range packers() {
		f.Add(pack(f, b, with))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) < 64<<10 {
			_, _ = Read(bytes.NewReader(b), nil)
		}
	})
}
