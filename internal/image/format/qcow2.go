package format

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// The numbers of qcow2, from docs/interop/qcow2.txt of QEMU.
const (
	qcowHeaderV2    = 72
	qcowHeaderV3    = 104
	qcowMinBits     = 9
	qcowMaxBits     = 21
	qcowOffsetMask  = 0x00fffffffffffe00
	qcowCompressed  = 1 << 62
	qcowReadsZero   = 1
	qcowSubclusters = 32

	qcowDirty       = 1 << 0
	qcowCorrupt     = 1 << 1
	qcowExternal    = 1 << 2
	qcowCompression = 1 << 3
	qcowExtendedL2  = 1 << 4

	// Decompressed clusters that are kept, in bytes.
	clusterCache = 8 << 20
)

// qcow2 maps a guest's bytes through two levels of tables. Neither table is
// held: entries are read through the cache of the file.
type qcow2 struct {
	f        *block.Cached
	bits     uint  // of a cluster
	entry    int64 // bytes of an L2 entry
	l1       int64 // where it is
	l1Len    int64 // entries
	size     int64
	unpack   decompressor
	clusters *block.Pages // decompressed, by their compressed descriptor
}

type qcowHeader struct {
	version, bits, crypt     uint32
	backing, size, l1        uint64
	backingLen, l1Len        uint32
	incompatible             uint64
	compression, headerBytes uint32
}

func openQCOW2(f *block.Cached) (*Image, error) {
	h, err := readQCOWHeader(f)
	if err != nil {
		return nil, err
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	q := &qcow2{f: f, bits: uint(h.bits), entry: 8, l1: int64(h.l1), l1Len: int64(h.l1Len), size: int64(h.size), unpack: inflater()}
	if h.compression == 1 {
		q.unpack = zstdUnpacker()
	}
	if h.incompatible&qcowExtendedL2 != 0 {
		q.entry = 16
	}
	if need := (q.size + q.reach() - 1) / q.reach(); q.l1Len < need {
		return nil, droveway.Errorf(droveway.Invalid, "qcow2: %d entries in the first table, %d are needed: the image is damaged", q.l1Len, need)
	}
	q.clusters = block.NewPages(clusterCache>>q.bits, q.decompress)
	return &Image{Kind: QCOW2, Variant: h.variant(), Size: q.size, disk: q}, nil
}

func readQCOWHeader(f *block.Cached) (qcowHeader, error) {
	b, err := block.Read(f, 0, min(sector, int(f.Size())))
	if err != nil {
		return qcowHeader{}, err
	}
	be := binary.BigEndian
	h := qcowHeader{
		version: be.Uint32(b[4:]), backing: be.Uint64(b[8:]), backingLen: be.Uint32(b[16:]), bits: be.Uint32(b[20:]),
		size: be.Uint64(b[24:]), crypt: be.Uint32(b[32:]), l1Len: be.Uint32(b[36:]), l1: be.Uint64(b[40:]), headerBytes: qcowHeaderV2,
	}
	if h.version >= 3 {
		h.incompatible = be.Uint64(b[72:])
		h.headerBytes = be.Uint32(b[100:])
		if h.headerBytes > qcowHeaderV3 {
			h.compression = uint32(b[104])
		}
	}
	return h, nil
}

func (h *qcowHeader) check() error {
	known := uint64(qcowDirty | qcowCorrupt | qcowExternal | qcowCompression | qcowExtendedL2)
	switch {
	case h.version != 2 && h.version != 3:
		return droveway.Missing("qcow2-version", "qcow2 of version %d: 2 and 3 can be read", h.version)
	case h.bits < qcowMinBits || h.bits > qcowMaxBits:
		return droveway.Errorf(droveway.Invalid, "qcow2: clusters of 2^%d bytes: the image is damaged", h.bits)
	case h.backing != 0:
		return droveway.Errorf(droveway.Invalid, "qcow2: it needs a backing file and is not a whole disk: flatten it with 'qemu-img convert'")
	case h.incompatible&qcowExternal != 0:
		return droveway.Errorf(droveway.Invalid, "qcow2: its data are in another file: flatten it with 'qemu-img convert'")
	case h.incompatible&qcowCorrupt != 0:
		return droveway.Errorf(droveway.Invalid, "qcow2: it is marked as corrupt: repair it with 'qemu-img check -r all'")
	case h.incompatible&^known != 0:
		return droveway.Missing("qcow2-feature", "qcow2: unknown features %#x", h.incompatible&^known)
	case h.crypt != 0:
		return droveway.Missing("qcow2-encryption", "qcow2: the image is encrypted: decrypt it with 'qemu-img convert'")
	case h.size > MaxSize:
		return droveway.Errorf(droveway.Invalid, "qcow2: a virtual size of %d bytes: a disk has 1 to %d", h.size, int64(MaxSize))
	case h.compression > 1:
		return droveway.Missing("qcow2-compression", "qcow2: compression %d is unknown: zlib and zstd can be read", h.compression)
	case h.l1 > 1<<62:
		return droveway.Errorf(droveway.Invalid, "qcow2: first table at %#x: the image is damaged", h.l1)
	}
	return nil
}

func (h *qcowHeader) variant() string {
	if h.compression == 1 {
		return "zstd"
	}
	return ""
}

func (q *qcow2) cluster() int64 { return 1 << q.bits }

// reach is how many bytes one second-level table maps.
func (q *qcow2) reach() int64 { return q.cluster() / q.entry * q.cluster() }

func (q *qcow2) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		piece := p[n:min(int64(len(p)), int64(n)+q.cluster()-at%q.cluster())]
		if err := q.readCluster(piece, at); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// readCluster fills p, which lies in one cluster.
func (q *qcow2) readCluster(p []byte, at int64) error {
	desc, bitmap, err := q.lookup(at)
	if err != nil {
		return err
	}
	within := at % q.cluster()
	if desc&qcowCompressed != 0 {
		b, err := q.clusters.Get(int64(desc))
		if err != nil {
			return err
		}
		copy(p, b[within:])
		return nil
	}
	host := int64(desc & qcowOffsetMask)
	if q.entry == 16 {
		return q.readSubclusters(p, within, host, bitmap)
	}
	if host == 0 || desc&qcowReadsZero != 0 {
		clear(p)
		return nil
	}
	return readTail(q.f, p, host+within)
}

// readSubclusters reads a cluster that is allocated in 32 parts: the low half
// of bitmap says which are there, the high half which read as zeros.
func (q *qcow2) readSubclusters(p []byte, within, host int64, bitmap uint64) error {
	part := q.cluster() / qcowSubclusters
	for len(p) > 0 {
		i := within / part
		piece := p[:min(int64(len(p)), part-within%part)]
		if host == 0 || bitmap>>i&1 == 0 || bitmap>>(i+qcowSubclusters)&1 == 1 {
			clear(piece)
		} else if err := readTail(q.f, piece, host+within); err != nil {
			return err
		}
		p, within = p[len(piece):], within+int64(len(piece))
	}
	return nil
}

// lookup gives the L2 entry of a guest's place, zero where nothing is.
func (q *qcow2) lookup(at int64) (desc, bitmap uint64, err error) {
	b, err := block.Read(q.f, q.l1+at/q.reach()*8, 8)
	if err != nil {
		return 0, 0, err
	}
	table := int64(binary.BigEndian.Uint64(b) & qcowOffsetMask)
	if table == 0 {
		return 0, 0, nil
	}
	b, err = block.Read(q.f, table+at%q.reach()/q.cluster()*q.entry, int(q.entry))
	if err != nil {
		return 0, 0, err
	}
	if q.entry == 16 {
		bitmap = binary.BigEndian.Uint64(b[8:])
	}
	return binary.BigEndian.Uint64(b), bitmap, nil
}

// decompress unpacks the cluster of a compressed descriptor: x bits of place,
// the rest the number of further sectors.
func (q *qcow2) decompress(key int64) ([]byte, error) {
	desc := uint64(key)
	x := 62 - (q.bits - 8)
	off := int64(desc & (1<<x - 1))
	length := (int64(desc>>x&(1<<(62-x)-1))+1)*sector - off%sector
	if off >= q.f.Size() {
		return nil, droveway.Errorf(droveway.Invalid, "qcow2: a compressed cluster at %d: the image ends at %d", off, q.f.Size())
	}
	return unpackFrom(q.f, off, min(length, q.f.Size()-off), q.cluster(), q.unpack)
}

// readTail reads from a file that may end within its last cluster: what is
// missing reads as zeros, as QEMU does it. A place wholly outside is damage.
func readTail(f *block.Cached, p []byte, off int64) error {
	if off >= f.Size() {
		return droveway.Errorf(droveway.Invalid, "data at %d: the file ends at %d: the image is truncated", off, f.Size())
	}
	n, err := f.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return err
	}
	clear(p[n:])
	return nil
}
