//go:build lab

package format_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/format"
)

// number gives a number of the environment, or what it is without.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// random are the ways to make an image that is written to in place.
var random = []struct {
	kind    format.Kind
	options string // of qemu-img create
}{
	{format.QCOW2, "cluster_size=512"},
	{format.QCOW2, "cluster_size=64k,lazy_refcounts=on"},
	{format.QCOW2, "cluster_size=2M,preallocation=metadata"},
	{format.QCOW2, "cluster_size=16k,extended_l2=on"},
	{format.QCOW2, "cluster_size=1M,extended_l2=on,refcount_bits=1"},
	{format.QCOW2, "compat=0.10,cluster_size=4k"},
	{format.QCOW2, "compression_type=zstd,cluster_size=32k"},
	{format.QCOW2, "compression_type=zlib,cluster_size=128k"},
	{format.VMDK, "subformat=monolithicSparse"},
	{format.VMDK, "subformat=monolithicSparse,zeroed_grain=on"},
	{format.VMDK, "subformat=twoGbMaxExtentSparse"},
	{format.VMDK, "subformat=monolithicFlat"},
	{format.VHD, "subformat=dynamic,force_size=on"},
	{format.VHD, "subformat=fixed,force_size=on"},
	{format.VHDX, "subformat=dynamic,block_size=1M"},
	{format.VHDX, "subformat=fixed"},
}

// TestRandom writes images at random with qemu-io, and reads of each what qemu-img
// reads of it. Others: DROVEWAY_SEED=N, more of them: DROVEWAY_ROUNDS=20. SYSTEMS 5.8.
func TestRandom(t *testing.T) {
	seed, rounds := number(t, "DROVEWAY_SEED", 1), number(t, "DROVEWAY_ROUNDS", 1)
	for _, k := range random {
		t.Run(string(k.kind)+" "+k.options, func(t *testing.T) {
			for round := range rounds {
				r := rand.New(rand.NewPCG(seed, round))
				dir := t.TempDir()
				image, raw := filepath.Join(dir, "image"), filepath.Join(dir, "raw")
				size := (1 + r.Int64N(6<<20>>9)) * 512
				disktest.Tool(t, "qemu-img", "create", "-q", "-f", qemuName(k.kind), "-o", k.options, image, strconv.FormatInt(size, 10))
				if !scribble(t, r, k.kind, image, size) {
					continue
				}
				disktest.Tool(t, "qemu-img", "convert", "-f", qemuName(k.kind), "-O", "raw", image, raw)
				want, err := os.ReadFile(raw)
				if err != nil {
					t.Fatal(err)
				}
				i, got := contents(t, image)
				if i.Kind != k.kind || !bytes.Equal(got, want) {
					t.Fatalf("seed %d, round %d, size %d: %s: it differs from byte %d on; %d bytes, want %d", seed, round, size, i.Kind, differs(got, want), len(got), len(want))
				}
			}
		})
	}
}

func differs(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// scribble writes, zeroes and discards pieces. What a format cannot do, qemu-io says and
// passes over. It reports whether QEMU still takes the image for sound: with clusters of
// 512 bytes it now and then marks its own as corrupt, which we refuse.
func scribble(t *testing.T, r *rand.Rand, kind format.Kind, image string, size int64) bool {
	t.Helper()
	args := []string{"-f", qemuName(kind), "-d", "unmap"}
	for range 60 {
		at := r.Int64N(size>>9) << 9
		length := min(size-at, (1+r.Int64N([]int64{1, 4, 200, 2000}[r.IntN(4)]))<<9)
		how := []string{"write -P %d", "write -P %d", "write -P %d", "write -z", "write -zu", "discard", "write -c -P %d"}
		do := how[r.IntN(len(how))]
		if strings.Contains(do, "%d") {
			do = fmt.Sprintf(do, 1+r.IntN(255))
		}
		args = append(args, "-c", fmt.Sprintf("%s %d %d", do, at, length))
	}
	out, err := exec.Command("qemu-io", append(args, image)...).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("not supported")) && !bytes.Contains(out, []byte("failed")) {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	return !bytes.Contains(bytes.ToLower(out), []byte("corrupt"))
}
