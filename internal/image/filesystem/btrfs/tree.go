package btrfs

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	nodeHeader = 101
	itemBytes  = 25
	pointer    = 33
	keyBytes   = 17
	maxLevel   = 8
	chunkHead  = 48
	stripe     = 32
	maxChunks  = 1 << 18
	sysArrayAt = 811
	sysArray   = 2048

	profileRAID0  = 1 << 3
	profileRAID10 = 1 << 6
	profileParity = 1<<7 | 1<<8
)

// key orders the items of a tree.
type key struct {
	id     uint64
	kind   byte
	offset uint64
}

func parseKey(b []byte) key {
	return key{binary.LittleEndian.Uint64(b), b[8], binary.LittleEndian.Uint64(b[9:])}
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.id, o.id), cmp.Compare(k.kind, o.kind), cmp.Compare(k.offset, o.offset))
}

// place maps a logical address to the device.
func (v *volume) place(logical int64, length int64) (int64, error) {
	i, found := slices.BinarySearchFunc(v.chunks, logical, func(c chunk, l int64) int {
		switch {
		case c.logical+c.length <= l:
			return -1
		case c.logical > l:
			return 1
		}
		return 0
	})
	if !found || logical+length > v.chunks[i].logical+v.chunks[i].length {
		return 0, filesystem.Broken("btrfs: address %d is not mapped", logical)
	}
	c := v.chunks[i]
	if c.place < 0 {
		return 0, droveway.Missing("btrfs-raid", "btrfs: address %d is spread over several disks", logical)
	}
	return c.place + logical - c.logical, nil
}

func (v *volume) systemChunks(super []byte) error {
	size := int(binary.LittleEndian.Uint32(super[160:]))
	if size > sysArray {
		return filesystem.Broken("btrfs: the superblock makes no sense")
	}
	b := super[sysArrayAt : sysArrayAt+size]
	for len(b) >= keyBytes+chunkHead+stripe {
		n, err := v.addChunk(parseKey(b), b[keyBytes:])
		if err != nil {
			return err
		}
		b = b[keyBytes+n:]
	}
	return nil
}

// addChunk takes a chunk: single, or copies of which one on this device serves.
func (v *volume) addChunk(k key, b []byte) (int, error) {
	le := binary.LittleEndian
	if len(b) < chunkHead {
		return 0, filesystem.Broken("btrfs: a chunk makes no sense")
	}
	count := int(le.Uint16(b[44:]))
	size := chunkHead + count*stripe
	length, start := le.Uint64(b), k.offset
	if count == 0 || size > len(b) || length == 0 || length > 1<<56 || start > 1<<60 || len(v.chunks) >= maxChunks {
		return 0, filesystem.Broken("btrfs: a chunk makes no sense")
	}
	c := chunk{logical: int64(start), length: int64(length), place: -1}
	spread := le.Uint64(b[24:])&(profileRAID0|profileRAID10|profileParity) != 0 && count > 1
	for i := 0; i < count && !spread && c.place < 0; i++ {
		s := b[chunkHead+i*stripe:]
		if le.Uint64(s) == v.device && le.Uint64(s[8:]) < 1<<60 {
			c.place = int64(le.Uint64(s[8:]))
		}
	}
	at, found := slices.BinarySearchFunc(v.chunks, c, func(a, b chunk) int { return cmp.Compare(a.logical, b.logical) })
	if !found {
		v.chunks = slices.Insert(v.chunks, at, c)
	}
	return size, nil
}

func (v *volume) loadChunks(t tree) error {
	return v.walk(t, key{}, func(k key, data []byte) (bool, error) {
		if k.kind != typeChunk {
			return true, nil
		}
		_, err := v.addChunk(k, data)
		return true, err
	})
}

// readNode reads a block. None is kept: each step of a walk through a tree that
// leads back into itself must be a read that counts.
func (v *volume) readNode(logical int64) ([]byte, error) {
	at, err := v.place(logical, v.nodeSize)
	if err != nil {
		return nil, err
	}
	b, err := block.Read(v.r, at, int(v.nodeSize))
	if err != nil {
		return nil, err
	}
	if int64(binary.LittleEndian.Uint64(b[48:])) != logical {
		return nil, filesystem.Broken("btrfs: the block at %d calls itself another", logical)
	}
	return b, nil
}

// walk calls fn for the items from a key on, in order, until it says no.
func (v *volume) walk(t tree, from key, fn func(key, []byte) (bool, error)) error {
	if t.level < 0 || t.level > maxLevel {
		return filesystem.Broken("btrfs: a tree of %d levels", t.level)
	}
	_, err := v.descend(t.place, t.level, from, fn)
	return err
}

// descend goes through a block. Levels fall by one at each step, so a ring ends.
func (v *volume) descend(place int64, level int, from key, fn func(key, []byte) (bool, error)) (bool, error) {
	b, err := v.readNode(place)
	if err != nil {
		return false, err
	}
	count := int(binary.LittleEndian.Uint32(b[96:]))
	size := itemBytes
	if level > 0 {
		size = pointer
	}
	if int(b[100]) != level || count < 0 || nodeHeader+count*size > len(b) {
		return false, filesystem.Broken("btrfs: the block at %d makes no sense", place)
	}
	if level == 0 {
		return v.leaf(b, count, from, fn)
	}
	first := sort.Search(count, func(i int) bool { return parseKey(b[nodeHeader+i*size:]).compare(from) > 0 })
	for i := max(0, first-1); i < count; i++ {
		e := b[nodeHeader+i*size:]
		more, err := v.descend(int64(binary.LittleEndian.Uint64(e[keyBytes:])), level-1, from, fn)
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

func (v *volume) leaf(b []byte, count int, from key, fn func(key, []byte) (bool, error)) (bool, error) {
	le := binary.LittleEndian
	first := sort.Search(count, func(i int) bool { return parseKey(b[nodeHeader+i*itemBytes:]).compare(from) >= 0 })
	for i := first; i < count; i++ {
		e := b[nodeHeader+i*itemBytes:]
		off, size := int64(le.Uint32(e[keyBytes:])), int64(le.Uint32(e[keyBytes+4:]))
		if nodeHeader+off+size > int64(len(b)) {
			return false, filesystem.Broken("btrfs: an item makes no sense")
		}
		more, err := fn(parseKey(e), b[nodeHeader+off:nodeHeader+off+size])
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

const dirItemHead = 30

// eachName goes through the entries of a directory item.
func eachName(b []byte, fn func(name string, location key) error) error {
	for len(b) >= dirItemHead {
		data, name := int(binary.LittleEndian.Uint16(b[25:])), int(binary.LittleEndian.Uint16(b[27:]))
		if dirItemHead+name+data > len(b) {
			return filesystem.Broken("btrfs: an entry of a folder makes no sense")
		}
		if err := fn(string(b[dirItemHead:dirItemHead+name]), parseKey(b)); err != nil {
			return err
		}
		b = b[dirItemHead+name+data:]
	}
	return nil
}
