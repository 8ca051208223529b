package format

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// The numbers of sparse VMDK extents, from VMware's "Virtual Disk Format 5.0".
const (
	vmdkZeroGrains   = 1 << 2 // flag: an entry of 1 means zeros
	vmdkCompressed   = 1 << 16
	vmdkGDAtEnd      = ^uint64(0)
	vmdkFooterBefore = 1024 // bytes from the end of a streamed file
	vmdkMaxTable     = 512  // entries of a grain table, as in every product
	vmdkMaxGrain     = 128  // sectors times 64
	vmdkMarker       = 12   // bytes before a compressed grain
	vmdkDescriptor   = 64 << 10
)

// sparseExtent is a VMDK extent that holds grains where a two-level directory
// says.
type sparseExtent struct {
	f           *block.Cached
	size, grain int64 // bytes
	perTable    int64 // entries
	directory   int64 // where it is
	zeroGrains  bool
	compressed  bool
	grains      *block.Pages // decompressed, by their place
	unpack      decompressor
}

type vmdkHeader struct {
	version, flags, perTable             uint32
	capacity, grain, descriptor, descLen uint64
	directory                            uint64
	compression                          uint16
}

func parseVMDKHeader(b []byte) vmdkHeader {
	le := binary.LittleEndian
	return vmdkHeader{
		version: le.Uint32(b[4:]), flags: le.Uint32(b[8:]), capacity: le.Uint64(b[12:]), grain: le.Uint64(b[20:]),
		descriptor: le.Uint64(b[28:]), descLen: le.Uint64(b[36:]), perTable: le.Uint32(b[44:]), directory: le.Uint64(b[56:]),
		compression: le.Uint16(b[77:]),
	}
}

func readVMDKHeader(f *block.Cached) (vmdkHeader, error) {
	b, err := block.Read(f, 0, sector)
	if err == nil && string(b[:4]) != "KDMV" {
		err = droveway.Errorf(droveway.Invalid, "vmdk: an extent that is no sparse one: the disk is damaged")
	}
	if err != nil {
		return vmdkHeader{}, err
	}
	h := parseVMDKHeader(b)
	if h.directory != vmdkGDAtEnd {
		return h, nil
	}
	b, err = block.Read(f, f.Size()-vmdkFooterBefore, sector)
	if err != nil || string(b[:4]) != "KDMV" {
		return h, droveway.Errorf(droveway.Invalid, "vmdk: no footer at its end: the file is truncated")
	}
	return parseVMDKHeader(b), nil
}

func (h *vmdkHeader) check() error {
	switch {
	case h.version < 1 || h.version > 3:
		return droveway.Missing("vmdk-version", "vmdk of version %d: 1 to 3 can be read", h.version)
	case h.grain == 0 || h.grain > vmdkMaxGrain*64 || h.grain&(h.grain-1) != 0:
		return droveway.Errorf(droveway.Invalid, "vmdk: grains of %d sectors: the image is damaged", h.grain)
	case h.perTable == 0 || h.perTable > vmdkMaxTable:
		return droveway.Errorf(droveway.Invalid, "vmdk: %d entries in a grain table: the image is damaged", h.perTable)
	case h.capacity == 0 || h.capacity > MaxSize/sector:
		return droveway.Errorf(droveway.Invalid, "vmdk: a virtual size of %d sectors: a disk has 1 to %d", h.capacity, int64(MaxSize/sector))
	case h.flags&vmdkCompressed != 0 && h.compression != 1:
		return droveway.Missing("vmdk-compression", "vmdk: compression %d is unknown", h.compression)
	case h.directory == 0 || h.directory > MaxSize/sector:
		return droveway.Errorf(droveway.Invalid, "vmdk: grain directory at sector %d: the image is damaged", h.directory)
	}
	return nil
}

// openVMDK opens a file that begins with a sparse extent: a whole disk, unless
// its descriptor says otherwise.
func openVMDK(f *block.Cached, near neighbours) (*Image, error) {
	e, h, err := openSparse(f)
	if err != nil {
		return nil, err
	}
	variant := "monolithicSparse"
	if h.descriptor != 0 {
		text, err := embedded(f, h)
		if err != nil {
			return nil, err
		}
		d, err := parseDescriptor(text)
		if err != nil {
			return nil, err
		}
		if len(d.extents) > 1 {
			return d.open(near)
		}
		variant = d.variant
	}
	return &Image{Kind: VMDK, Variant: variant, Size: e.size, disk: e}, nil
}

func embedded(f *block.Cached, h vmdkHeader) ([]byte, error) {
	if h.descriptor > MaxSize/sector {
		return nil, droveway.Errorf(droveway.Invalid, "vmdk: descriptor at sector %d: the image is damaged", h.descriptor)
	}
	return block.Read(f, int64(h.descriptor)*sector, int(min(h.descLen*sector, vmdkDescriptor)))
}

func openSparse(f *block.Cached) (*sparseExtent, vmdkHeader, error) {
	h, err := readVMDKHeader(f)
	if err != nil {
		return nil, h, err
	}
	if err := h.check(); err != nil {
		return nil, h, err
	}
	e := &sparseExtent{
		f: f, size: int64(h.capacity) * sector, grain: int64(h.grain) * sector, perTable: int64(h.perTable),
		directory: int64(h.directory) * sector, zeroGrains: h.flags&vmdkZeroGrains != 0, compressed: h.flags&vmdkCompressed != 0, unpack: zlibInflater(),
	}
	e.grains = block.NewPages(int(clusterCache/e.grain), e.decompress)
	return e, h, nil
}

func (e *sparseExtent) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		piece := p[n:min(int64(len(p)), int64(n)+e.grain-at%e.grain)]
		if err := e.readGrain(piece, at); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

func (e *sparseExtent) readGrain(p []byte, at int64) error {
	place, err := e.lookup(at)
	switch {
	case err != nil:
		return err
	case place == 0:
		clear(p)
		return nil
	case !e.compressed:
		return readTail(e.f, p, place+at%e.grain)
	}
	b, err := e.grains.Get(place)
	if err != nil {
		return err
	}
	copy(p, b[at%e.grain:])
	return nil
}

// lookup gives the place of a grain in the file, 0 for one of zeros.
func (e *sparseExtent) lookup(at int64) (int64, error) {
	grain := at / e.grain
	table, err := e.entry(e.directory + grain/e.perTable*4)
	if err != nil || table == 0 {
		return 0, err
	}
	place, err := e.entry(table*sector + grain%e.perTable*4)
	if err != nil || e.zeroGrains && place == 1 {
		return 0, err
	}
	return place * sector, nil
}

func (e *sparseExtent) entry(at int64) (int64, error) {
	b, err := block.Read(e.f, at, 4)
	if err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint32(b)), nil
}

func (e *sparseExtent) decompress(place int64) ([]byte, error) {
	marker, err := block.Read(e.f, place, vmdkMarker)
	if err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(marker[8:]))
	if length > 2*e.grain+sector {
		return nil, droveway.Errorf(droveway.Invalid, "vmdk: a compressed grain of %d bytes: the image is damaged", length)
	}
	size := min(e.grain, e.size-int64(binary.LittleEndian.Uint64(marker))*sector)
	if size <= 0 {
		return nil, droveway.Errorf(droveway.Invalid, "vmdk: a grain beyond the end of the disk: the image is damaged")
	}
	b, err := unpackFrom(e.f, place+vmdkMarker, length, size, e.unpack)
	if err != nil {
		return nil, err
	}
	return append(b, make([]byte, e.grain-size)...), nil
}

// chain is several extents one after another.
type chain struct {
	ends  []int64
	parts []io.ReaderAt
}

func (c *chain) add(r io.ReaderAt, size int64) {
	c.ends = append(c.ends, c.size()+size)
	c.parts = append(c.parts, r)
}

func (c *chain) size() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

func (c *chain) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	start := int64(0)
	for i, end := range c.ends {
		at := off + int64(n)
		if at < end && n < len(p) {
			piece := p[n:min(int64(len(p)), int64(n)+end-at)]
			if err := block.Full(c.parts[i], piece, at-start); err != nil {
				return n, err
			}
			n += len(piece)
		}
		start = end
	}
	return n, nil
}

// zeros is an extent without data.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
