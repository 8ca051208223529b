package format

import (
	"encoding/binary"

	"github.com/droveway/droveway/internal/image/block"
)

// sparse is a format whose tables say where nothing is.
type sparse interface {
	// hole is how many bytes from off on are zero; 0 where there may be data.
	hole(off int64) (int64, error)
}

// Hole tells how many bytes from off on are zero for certain; 0 where there may
// be data. It reads tables only, so that skipping the empty part of a disk of
// terabytes costs next to nothing.
func (i *Image) Hole(off int64) (int64, error) {
	s, ok := i.disk.(sparse)
	if !ok || off < 0 || off >= i.Size {
		return 0, nil
	}
	n, err := s.hole(off)
	return min(n, i.Size-off), err
}

// rest is how far it is from off to the next multiple of unit.
func rest(off, unit int64) int64 { return unit - off%unit }

func (q *qcow2) hole(off int64) (int64, error) {
	b, err := block.Read(q.f, q.l1+off/q.reach()*8, 8)
	if err != nil {
		return 0, err
	}
	if binary.BigEndian.Uint64(b)&qcowOffsetMask == 0 {
		return rest(off, q.reach()), nil
	}
	desc, _, err := q.lookup(off)
	if err != nil || desc != 0 {
		return 0, err
	}
	return rest(off, q.cluster()), nil
}

func (e *sparseExtent) hole(off int64) (int64, error) {
	reach := e.grain * e.perTable
	table, err := e.entry(e.directory + off/reach*4)
	if err != nil {
		return 0, err
	}
	if table == 0 {
		return rest(off, reach), nil
	}
	place, err := e.lookup(off)
	if err != nil || place != 0 {
		return 0, err
	}
	return rest(off, e.grain), nil
}

func (v *dynamicVHD) hole(off int64) (int64, error) {
	b, err := block.Read(v.f, v.table+off/v.block*4, 4)
	if err != nil || binary.BigEndian.Uint32(b) != vhdUnused {
		return 0, err
	}
	return rest(off, v.block), nil
}

func (v *vhdx) hole(off int64) (int64, error) {
	entry, err := v.lookup(off / v.block)
	if err != nil || entry&7 == vhdxFull || entry&7 == vhdxPartly {
		return 0, err
	}
	return rest(off, v.block), nil
}

func (zeros) hole(int64) (int64, error) { return MaxSize, nil }

func (c *chain) hole(off int64) (int64, error) {
	var start int64
	for i, end := range c.ends {
		if s, ok := c.parts[i].(sparse); off < end {
			if !ok {
				return 0, nil
			}
			n, err := s.hole(off - start)
			return min(n, end-off), err
		}
		start = end
	}
	return 0, nil
}
