package format

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// The numbers of VHDX, from Microsoft's [MS-VHDX].
const (
	vhdxHeaderBytes  = 4096
	vhdxRegionBytes  = 64 << 10
	vhdxMaxEntries   = 2047
	vhdxUnit         = 1 << 20 // of offsets in the block table
	vhdxMinBlock     = 1 << 20
	vhdxMaxBlock     = 256 << 20
	vhdxFull         = 6
	vhdxPartly       = 7
	vhdxHasParent    = 1 << 1
	vhdxChunkSectors = 1 << 23 // sectors that one block of sector bitmaps covers
)

var (
	vhdxHeaderPlaces = []int64{64 << 10, 128 << 10}
	vhdxRegionPlaces = []int64{192 << 10, 256 << 10}
)

// The identifiers, as they lie in the file.
const (
	guidBAT         = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"
	guidMetadata    = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
	guidParameters  = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	guidVirtualSize = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
	guidSectorSize  = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f"
	guidNone        = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// vhdx holds blocks where a table says.
type vhdx struct {
	f      *block.Cached
	table  int64
	length int64 // of the table, bytes
	block  int64 // bytes
	ratio  int64 // blocks to one entry for their sector bitmaps
}

func openVHDX(f *block.Cached) (*Image, error) {
	if err := checkVHDXLog(f); err != nil {
		return nil, err
	}
	regions, err := vhdxRegions(f)
	if err != nil {
		return nil, err
	}
	m, err := vhdxMetadata(f, regions[guidMetadata])
	if err != nil {
		return nil, err
	}
	v := &vhdx{f: f, table: regions[guidBAT].off, length: regions[guidBAT].length, block: m.block}
	v.ratio = vhdxChunkSectors * m.sector / v.block
	return &Image{Kind: VHDX, Variant: "dynamic", Size: m.size, disk: v}, nil
}

// checkVHDXLog looks into the current header, the one with the higher sequence
// number of those whose checksum is right.
func checkVHDXLog(f *block.Cached) error {
	var current []byte
	for _, at := range vhdxHeaderPlaces {
		b, err := block.Read(f, at, vhdxHeaderBytes)
		if err != nil || string(b[:4]) != "head" || !castagnoli(b) {
			continue
		}
		if current == nil || binary.LittleEndian.Uint64(b[8:]) > binary.LittleEndian.Uint64(current[8:]) {
			current = b
		}
	}
	if current == nil {
		return droveway.Errorf(droveway.Invalid, "vhdx: no valid header: the image is damaged")
	}
	if string(current[48:64]) != guidNone {
		return droveway.Errorf(droveway.Unsupported, "vhdx: its log was not replayed, as after a crash or while in use: shut the machine down and copy it again, or run 'qemu-img check -r all'")
	}
	return nil
}

// castagnoli checks the CRC-32C at byte 4, which is computed with itself zero.
func castagnoli(b []byte) bool {
	want := binary.LittleEndian.Uint32(b[4:])
	c := append([]byte(nil), b...)
	clear(c[4:8])
	return crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli)) == want
}

type vhdxRegion struct{ off, length int64 }

func vhdxRegions(f *block.Cached) (map[string]vhdxRegion, error) {
	for _, at := range vhdxRegionPlaces {
		b, err := block.Read(f, at, vhdxRegionBytes)
		if err != nil || string(b[:4]) != "regi" || !castagnoli(b) {
			continue
		}
		found := map[string]vhdxRegion{}
		for i := range min(int(binary.LittleEndian.Uint32(b[8:])), vhdxMaxEntries) {
			e := b[16+32*i:]
			off := binary.LittleEndian.Uint64(e[16:])
			if off > MaxSize {
				return nil, droveway.Errorf(droveway.Invalid, "vhdx: a region at %d: the image is damaged", off)
			}
			found[string(e[:16])] = vhdxRegion{int64(off), int64(binary.LittleEndian.Uint32(e[24:]))}
		}
		if found[guidBAT].off == 0 || found[guidMetadata].off == 0 {
			break
		}
		return found, nil
	}
	return nil, droveway.Errorf(droveway.Invalid, "vhdx: no valid region table: the image is damaged")
}

type vhdxParameters struct{ block, size, sector int64 }

func vhdxMetadata(f *block.Cached, at vhdxRegion) (vhdxParameters, error) {
	var p vhdxParameters
	b, err := block.Read(f, at.off, vhdxRegionBytes)
	if err != nil {
		return p, err
	}
	for i := range min(int(binary.LittleEndian.Uint16(b[10:])), vhdxMaxEntries) {
		e := b[32+32*i:]
		item, err := block.Read(f, at.off+int64(binary.LittleEndian.Uint32(e[16:])), 8)
		if err != nil {
			return p, err
		}
		if err := p.take(string(e[:16]), item); err != nil {
			return p, err
		}
	}
	switch {
	case p.block < vhdxMinBlock || p.block > vhdxMaxBlock || p.block&(p.block-1) != 0:
		return p, droveway.Errorf(droveway.Invalid, "vhdx: blocks of %d bytes: the image is damaged", p.block)
	case p.sector != sector && p.sector != 4096:
		return p, droveway.Errorf(droveway.Invalid, "vhdx: sectors of %d bytes: the image is damaged", p.sector)
	case p.size <= 0 || p.size > MaxSize:
		return p, droveway.Errorf(droveway.Invalid, "vhdx: a virtual size of %d bytes: a disk has 1 to %d", p.size, int64(MaxSize))
	}
	return p, nil
}

func (p *vhdxParameters) take(id string, item []byte) error {
	le := binary.LittleEndian
	switch id {
	case guidParameters:
		p.block = int64(le.Uint32(item))
		if le.Uint32(item[4:])&vhdxHasParent != 0 {
			return droveway.Errorf(droveway.Invalid, "vhdx: it is a differencing disk and needs its parent: merge the checkpoints and export again")
		}
	case guidVirtualSize:
		p.size = int64(le.Uint64(item))
	case guidSectorSize:
		p.sector = int64(le.Uint32(item))
	}
	return nil
}

func (v *vhdx) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		piece := p[n:min(int64(len(p)), int64(n)+v.block-at%v.block)]
		if err := v.readBlock(piece, at); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// lookup gives the entry of a block.
func (v *vhdx) lookup(i int64) (uint64, error) {
	i += i / v.ratio // the entries of sector bitmaps between them
	if (i+1)*8 > v.length {
		return 0, droveway.Errorf(droveway.Invalid, "vhdx: block %d is not in the table: the image is damaged", i)
	}
	b, err := block.Read(v.f, v.table+i*8, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (v *vhdx) readBlock(p []byte, at int64) error {
	i := at / v.block
	entry, err := v.lookup(i)
	if err != nil {
		return err
	}
	switch entry & 7 {
	case vhdxFull:
		place := entry >> 20
		if place > MaxSize/vhdxUnit {
			return droveway.Errorf(droveway.Invalid, "vhdx: block %d at %d MiB: the image is damaged", i, place)
		}
		return readTail(v.f, p, int64(place)*vhdxUnit+at%v.block)
	case vhdxPartly:
		return droveway.Errorf(droveway.Invalid, "vhdx: block %d is partly in a parent: merge the checkpoints and export again", i)
	}
	clear(p)
	return nil
}
