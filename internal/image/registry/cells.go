package registry

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway"
)

const (
	binHead  = 32
	minCell  = 8
	seqAt    = 4 // two numbers, which differ while a hive is being written
	timeAt   = 12
	lengthAt = 40 // of all bins
	sumAt    = 508
	// maxHive is the longest hive that is changed, in bytes: it is held in memory.
	maxHive = 256 << 20
	none    = 0xffffffff
)

// cells is the memory of a hive: bins, divided into cells that are used or free.
type cells struct {
	b    []byte // the whole file
	free []span
}

// span is a free cell.
type span struct{ off, size uint32 }

// newCells checks a hive as strictly as one must be who goes on to change it.
func newCells(b []byte) (*cells, error) {
	le := binary.LittleEndian
	if len(b) < baseBytes || string(b[:4]) != "regf" {
		return nil, broken("it is none")
	}
	if le.Uint32(b[sumAt:]) != checksum(b) {
		return nil, broken("its checksum is wrong")
	}
	if le.Uint32(b[seqAt:]) != le.Uint32(b[seqAt+4:]) {
		return nil, droveway.Errorf(droveway.Conflict, "registry hive: it was not written to its end, and its log has the rest: start Windows and shut it down")
	}
	length := int64(le.Uint32(b[lengthAt:]))
	if length > int64(len(b))-baseBytes || length > maxHive {
		return nil, broken("%d bytes of bins in a file of %d", length, len(b))
	}
	c := &cells{b: b[:baseBytes+length]}
	return c, c.walk()
}

// walk finds the free cells.
func (c *cells) walk() error {
	le := binary.LittleEndian
	data := c.b[baseBytes:]
	for bin := 0; bin < len(data); {
		if len(data)-bin < binHead || string(data[bin:bin+4]) != "hbin" || le.Uint32(data[bin+4:]) != uint32(bin) {
			return broken("a bin at %d makes no sense", bin)
		}
		size := int(le.Uint32(data[bin+8:]))
		if size < baseBytes || size%baseBytes != 0 || size > len(data)-bin {
			return broken("a bin of %d bytes", size)
		}
		for at := bin + binHead; at < bin+size; {
			n := int(int32(le.Uint32(data[at:])))
			if n > 0 {
				c.free = append(c.free, span{uint32(at), uint32(n)})
			}
			n = max(n, -n)
			if n < minCell || n%8 != 0 || n > bin+size-at {
				return broken("a cell of %d bytes", n)
			}
			at += n
		}
		bin += size
	}
	return nil
}

// checksum is that of the first sector.
func checksum(b []byte) uint32 {
	var sum uint32
	for i := 0; i < sumAt; i += 4 {
		sum ^= binary.LittleEndian.Uint32(b[i:])
	}
	switch sum {
	case 0:
		return 1
	case none:
		return none - 1
	}
	return sum
}

// ReadAt lets a Hive read what was changed.
func (c *cells) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(c.b)) {
		return 0, io.EOF
	}
	n := copy(p, c.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// at gives a used cell, to be changed in place; it is good until the next put.
func (c *cells) at(off uint32) ([]byte, error) {
	data := c.b[baseBytes:]
	if off < binHead || int64(off)+minCell > int64(len(data)) {
		return nil, broken("a cell at %d", off)
	}
	size := -int64(int32(binary.LittleEndian.Uint32(data[off:])))
	if size < minCell || size > int64(len(data))-int64(off) {
		return nil, broken("a cell of %d bytes", size)
	}
	return data[off+4 : int64(off)+size], nil
}

// put stores data in a cell of its own.
func (c *cells) put(data []byte) (uint32, error) {
	need := uint32(len(data)+4+7) &^ 7
	for i, f := range c.free {
		if f.size >= need {
			c.free = append(c.free[:i], c.free[i+1:]...)
			return c.use(f, need, data), nil
		}
	}
	f, err := c.grow(need)
	if err != nil {
		return 0, err
	}
	return c.use(f, need, data), nil
}

// use turns the front of a free cell into a used one.
func (c *cells) use(f span, need uint32, data []byte) uint32 {
	le := binary.LittleEndian
	cell := c.b[baseBytes+f.off:]
	if rest := f.size - need; rest > 0 {
		le.PutUint32(cell[need:], rest)
		c.free = append(c.free, span{f.off + need, rest})
	}
	le.PutUint32(cell, -need)
	clear(cell[4:need])
	copy(cell[4:need], data)
	return f.off
}

// grow adds a bin.
func (c *cells) grow(need uint32) (span, error) {
	off := uint32(len(c.b) - baseBytes)
	size := (need + binHead + baseBytes - 1) &^ (baseBytes - 1)
	if int64(off)+int64(size) > maxHive {
		return span{}, droveway.Errorf(droveway.Unsupported, "registry hive: it would be larger than %d MiB", maxHive>>20)
	}
	le := binary.LittleEndian
	bin := make([]byte, size)
	copy(bin, "hbin")
	le.PutUint32(bin[4:], off)
	le.PutUint32(bin[8:], size)
	le.PutUint32(bin[binHead:], size-binHead)
	c.b = append(c.b, bin...)
	le.PutUint32(c.b[lengthAt:], off+size)
	return span{off + binHead, size - binHead}, nil
}

// release frees a cell, together with a free one behind it.
func (c *cells) release(off uint32) {
	cell, err := c.at(off)
	if err != nil {
		return // there is none: nothing to free
	}
	size := uint32(len(cell) + 4)
	for i, f := range c.free {
		if f.off == off+size {
			size += f.size
			c.free = append(c.free[:i], c.free[i+1:]...)
			break
		}
	}
	binary.LittleEndian.PutUint32(c.b[baseBytes+off:], size)
	c.free = append(c.free, span{off, size})
}
