//go:build lab

package format_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/format"
)

const (
	labSize = 24<<20 + 512*7 // not a multiple of any cluster
	piece   = 77_777         // reads that cross clusters
)

// source makes a raw disk with noise, text, zeros and holes.
func source(t *testing.T, size int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "source.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 0, 3<<20)
	for sum := sha256.Sum256(nil); len(noise) < cap(noise); sum = sha256.Sum256(sum[:]) {
		noise = append(noise, sum[:]...)
	}
	for at, b := range map[int64][]byte{
		0: []byte("boot"), 1 << 20: noise, 7<<20 + 512: bytes.Repeat([]byte("text of a disk, "), 100_000),
		12 << 20: make([]byte, 1<<20), size - 512: []byte("the end"), 20 << 20: noise[:70_000],
	} {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// contents reads an image piece by piece.
func contents(t *testing.T, path string) (*format.Image, []byte) {
	t.Helper()
	i, err := format.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	b := make([]byte, i.Size)
	for at := int64(0); at < i.Size; at += piece {
		p := b[at:min(at+piece, i.Size)]
		if n, err := i.ReadAt(p, at); n < len(p) || err != nil && err != io.EOF {
			t.Fatalf("read at %d: %d, %v", at, n, err)
		}
	}
	return i, b
}

// TestQEMU compares every format with what qemu-img makes of it. SYSTEMS 5.8.
func TestQEMU(t *testing.T) {
	src := source(t, labSize)
	for name, k := range map[string]struct {
		kind format.Kind
		args []string
	}{
		"raw":                 {format.Raw, []string{"-O", "raw"}},
		"qcow2":               {format.QCOW2, []string{"-O", "qcow2"}},
		"qcow2-v2":            {format.QCOW2, []string{"-O", "qcow2", "-o", "compat=0.10"}},
		"qcow2-zlib":          {format.QCOW2, []string{"-O", "qcow2", "-c"}},
		"qcow2-zstd":          {format.QCOW2, []string{"-O", "qcow2", "-c", "-o", "compression_type=zstd"}},
		"qcow2-small":         {format.QCOW2, []string{"-O", "qcow2", "-c", "-o", "cluster_size=512"}},
		"qcow2-large":         {format.QCOW2, []string{"-O", "qcow2", "-c", "-o", "cluster_size=2M"}},
		"qcow2-extended":      {format.QCOW2, []string{"-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"}},
		"vmdk-sparse":         {format.VMDK, []string{"-O", "vmdk"}},
		"vmdk-stream":         {format.VMDK, []string{"-O", "vmdk", "-o", "subformat=streamOptimized"}},
		"vmdk-flat":           {format.VMDK, []string{"-O", "vmdk", "-o", "subformat=monolithicFlat"}},
		"vmdk-pieces":         {format.VMDK, []string{"-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"}},
		"vmdk-flat-pieces":    {format.VMDK, []string{"-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"}},
		"vmdk-zeroed-grains":  {format.VMDK, []string{"-O", "vmdk", "-o", "zeroed_grain=on"}},
		"vhd-dynamic":         {format.VHD, []string{"-O", "vpc"}},
		"vhd-fixed":           {format.VHD, []string{"-O", "vpc", "-o", "subformat=fixed"}},
		"vhd-dynamic-by-size": {format.VHD, []string{"-O", "vpc", "-o", "force_size=on"}},
		"vhdx-dynamic":        {format.VHDX, []string{"-O", "vhdx"}},
		"vhdx-fixed":          {format.VHDX, []string{"-O", "vhdx", "-o", "subformat=fixed"}},
		"vhdx-small-blocks":   {format.VHDX, []string{"-O", "vhdx", "-o", "block_size=1M"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image, back := filepath.Join(dir, "image."+string(k.kind)), filepath.Join(dir, "back.raw")
			disktest.Tool(t, "qemu-img", append(append([]string{"convert", "-f", "raw"}, k.args...), src, image)...)
			disktest.Tool(t, "qemu-img", "convert", "-f", qemuName(k.kind), "-O", "raw", image, back)
			want, err := os.ReadFile(back)
			if err != nil {
				t.Fatal(err)
			}
			i, got := contents(t, image)
			if i.Kind != k.kind {
				t.Errorf("kind %s, want %s", i.Kind, k.kind)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes differ from the %d of qemu-img", len(got), len(want))
			}
		})
	}
}

// qemuName is what qemu-img calls a format.
func qemuName(k format.Kind) string {
	if k == format.VHD {
		return "vpc"
	}
	return string(k)
}

// TestOVA reads the disk where it lies in the archive. SYSTEMS 5.8.
func TestOVA(t *testing.T) {
	src, dir := source(t, labSize), t.TempDir()
	disktest.Tool(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", src, filepath.Join(dir, "disk.vmdk"))
	if err := os.WriteFile(filepath.Join(dir, "machine.ovf"), []byte("<Envelope/>"), 0o644); err != nil {
		t.Fatal(err)
	}
	ova := filepath.Join(dir, "machine.ova")
	disktest.Tool(t, "tar", "-C", dir, "-cf", ova, "machine.ovf", "disk.vmdk")
	want, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	i, got := contents(t, ova)
	if i.Inside != "disk.vmdk" || !bytes.Equal(got, want) {
		t.Errorf("member %q: %d bytes differ from the %d of the source", i.Inside, len(got), len(want))
	}
}
