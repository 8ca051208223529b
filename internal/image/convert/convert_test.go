package convert

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// source makes a raw disk with data at the borders of clusters and tables.
func source(t *testing.T, size int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "source.raw"))
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(size))
	for _, at := range []int64{0, cluster - 1, step - 3, 7*cluster + 5, reach - 2, reach + 9*cluster, 3*reach + 1, size - 4} {
		if at+4 <= size {
			_, err := f.WriteAt([]byte("data"), at)
			must(t, err)
		}
	}
	return f.Name()
}

func convert(t *testing.T, from string) string {
	t.Helper()
	disk, err := format.Open(from)
	must(t, err)
	defer disk.Close()
	f, err := os.Create(filepath.Join(t.TempDir(), "made.qcow2"))
	must(t, err)
	defer f.Close()
	var done int64
	must(t, ToQCOW2(t.Context(), f, disk, func(n int64) { done = n }))
	if done != disk.Size {
		t.Errorf("progress ended at %d of %d", done, disk.Size)
	}
	return f.Name()
}

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

// TestToQCOW2 lets qemu-img judge what is written: no leak, no error, the same
// disk. SYSTEMS 5.8.
func TestToQCOW2(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{
		"one sector": 512, "one cluster": cluster, "odd": 3*cluster + 512, "one table": reach, "many tables": 4*reach + 3<<20 + 512,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := source(t, size)
			out := convert(t, src)
			tool(t, "check", "-f", "qcow2", out)
			tool(t, "compare", "-f", "raw", "-F", "qcow2", src, out)
		})
	}
}

// TestHoles reads a disk of 32 TiB without data in every format that says where
// it has holes: it would take hours to read.
func TestHoles(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"qcow2", "vhdx", "vmdk"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			size := map[string]string{"qcow2": "32T", "vhdx": "32T", "vmdk": "1T"}[kind]
			src := filepath.Join(t.TempDir(), "empty."+kind)
			tool(t, "create", "-q", "-f", kind, src, size)
			out := convert(t, src)
			tool(t, "check", "-f", "qcow2", out)
			info, err := os.Stat(out)
			must(t, err)
			if info.Size() > 8<<20 {
				t.Errorf("nothing takes %d bytes", info.Size())
			}
		})
	}
}

// TestAllFormats converts what qemu-img makes of one disk. SYSTEMS 5.8.
func TestAllFormats(t *testing.T) {
	t.Parallel()
	src := source(t, 40<<20)
	for name, args := range map[string][]string{
		"qcow2": {"-O", "qcow2"}, "zlib": {"-c", "-O", "qcow2"}, "zstd": {"-c", "-O", "qcow2", "-o", "compression_type=zstd"},
		"extended": {"-O", "qcow2", "-o", "extended_l2=on"}, "vmdk": {"-O", "vmdk"}, "stream": {"-O", "vmdk", "-o", "subformat=streamOptimized"},
		"flat": {"-O", "vmdk", "-o", "subformat=monolithicFlat"}, "pieces": {"-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"},
		"vhd": {"-O", "vpc", "-o", "force_size=on"}, "vhd-fixed": {"-O", "vpc", "-o", "subformat=fixed,force_size=on"}, "vhdx": {"-O", "vhdx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := filepath.Join(t.TempDir(), "image")
			tool(t, append(append([]string{"convert", "-f", "raw"}, args...), src, in)...)
			out := convert(t, in)
			tool(t, "check", "-f", "qcow2", out)
			tool(t, "compare", "-f", "raw", "-F", "qcow2", src, out)
		})
	}
}

func TestStops(t *testing.T) {
	t.Parallel()
	disk, err := format.Open(source(t, 8<<20))
	must(t, err)
	defer disk.Close()
	f, err := os.Create(filepath.Join(t.TempDir(), "made"))
	must(t, err)
	defer f.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := ToQCOW2(ctx, f, disk, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("%v, want unavailable", err)
	}
	readOnly, err := os.Open(f.Name())
	must(t, err)
	defer readOnly.Close()
	if err := ToQCOW2(t.Context(), readOnly, disk, nil); err == nil {
		t.Error("a file that cannot be written went unnoticed")
	}
}

// ending is a context that ends once it has been asked so many times.
type ending struct {
	context.Context
	left int
}

func (e *ending) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestStopsInHoles ends among holes, which go on for as long as a disk likes.
func TestStopsInHoles(t *testing.T) {
	t.Parallel()
	src := filepath.Join(t.TempDir(), "empty.vmdk")
	tool(t, "create", "-q", "-f", "vmdk", src, "1G")
	disk, err := format.Open(src)
	must(t, err)
	defer disk.Close()
	f, err := os.Create(filepath.Join(t.TempDir(), "made"))
	must(t, err)
	defer f.Close()
	if err := ToQCOW2(&ending{context.Background(), 10}, f, disk, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("%v, want unavailable", err)
	}
}

// TestShortEnd writes a short last cluster after a longer one.
func TestShortEnd(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "made"))
	must(t, err)
	defer f.Close()
	b := bytes.Repeat([]byte("x"), cluster+512)
	disk, err := format.New(bytes.NewReader(b), int64(len(b)))
	must(t, err)
	must(t, ToQCOW2(t.Context(), f, disk, nil))
	again, err := format.Open(f.Name())
	must(t, err)
	defer again.Close()
	got := make([]byte, len(b))
	if _, err := again.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the end differs (%v)", err)
	}
}

// TestCounts has files whose counts just fill their clusters: these are counted, too.
func TestCounts(t *testing.T) {
	t.Parallel()
	for _, next := range []int64{1, perRefcounts - 3, perRefcounts - 2, perRefcounts - 1, perRefcounts, 8192*perRefcounts - 8193, 9000 * perRefcounts} {
		w := &writer{next: next}
		counts, table := w.countClusters()
		if all := next + counts + table; counts*perRefcounts < all || table*cluster < counts*8 || (counts-1)*perRefcounts >= all {
			t.Errorf("%d clusters: %d of counts and %d of their table", next, counts, table)
		}
	}
}
