// Package imagetest unpacks the small images in testdata, damages them for
// fuzzers, and makes machines with several disks of them. It reads testdata of the
// package under test alone.
package imagetest

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Image unpacks testdata/NAME.zst.
func Image(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if b, err = z.DecodeAll(b, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// Patches damages a copy of an image in places that matter: a fuzzer that had to
// change megabytes of zeros would find nothing.
type Patches struct {
	base   []byte
	places []int // of sectors that are not all zeros
}

const (
	sector    = 512
	patchHead = 5 // which sector, where in it, how many bytes
	maxPatch  = 16
)

// NewPatches finds the places.
func NewPatches(base []byte) *Patches {
	p := &Patches{base: base}
	zeros := make([]byte, sector)
	for at := 0; at+sector <= len(base); at += sector {
		if !bytes.Equal(base[at:at+sector], zeros) {
			p.places = append(p.places, at)
		}
	}
	return p
}

// Apply calls do with the damaged image and puts it right again.
func (p *Patches) Apply(patch []byte, do func(image []byte)) {
	undo := map[int]byte{}
	for len(patch) > patchHead && len(p.places) > 0 {
		at := p.places[int(binary.LittleEndian.Uint16(patch))%len(p.places)] + int(binary.LittleEndian.Uint16(patch[2:]))%sector
		n := min(1+int(patch[4])%maxPatch, len(patch)-patchHead, len(p.base)-at)
		for i := range n {
			if _, done := undo[at+i]; !done {
				undo[at+i] = p.base[at+i]
			}
			p.base[at+i] = patch[patchHead+i]
		}
		patch = patch[patchHead+n:]
	}
	do(p.base)
	for at, b := range undo {
		p.base[at] = b
	}
}

// Seeds adds patches that hit the first sectors.
func (p *Patches) Seeds(f *testing.F) {
	f.Add([]byte{})
	for i := range min(len(p.places), 24) {
		f.Add([]byte{byte(i), 0, byte(i * 7), 0, 3, 0xff, 0xff, 0xff, 0x7f})
		f.Add([]byte{byte(i), 0, byte(i * 4), 1, 1, 0, 0})
	}
}

// Fuzz damages images, and hands each to do.
func Fuzz(f *testing.F, do func(image []byte), names ...string) {
	var all []*Patches
	for _, n := range names {
		all = append(all, NewPatches(Image(f, n)))
	}
	all[0].Seeds(f)
	f.Fuzz(func(_ *testing.T, patch []byte) {
		for _, p := range all {
			p.Apply(patch, do)
		}
	})
}
