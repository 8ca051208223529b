// Package registrytest makes small hives for tests. It computes only.
package registrytest

import (
	"encoding/binary"
	"maps"
	"slices"
	"unicode/utf16"
)

// Key is a key: the keys below it, and its values, of which each is a string or
// a uint32.
type Key struct {
	Keys   map[string]Key
	Values map[string]any
}

const (
	base    = 4096
	binHead = 32
	none    = 0xffffffff
)

// Hive makes a hive.
func Hive(root Key) []byte {
	h := &hive{b: make([]byte, binHead)}
	h.security = h.cell(security())
	le := binary.LittleEndian
	le.PutUint32(h.b[h.security+8:], h.security) // the only one of a ring
	le.PutUint32(h.b[h.security+12:], h.security)
	at := h.key("ROOT", root, none, 0x2c)
	for len(h.b)%base != 0 { // the rest is one free cell
		size := base - len(h.b)%base
		h.b = binary.LittleEndian.AppendUint32(h.b, uint32(size))
		h.b = append(h.b, make([]byte, size-4)...)
	}
	copy(h.b, "hbin")
	le.PutUint32(h.b[8:], uint32(len(h.b)))
	head := make([]byte, base)
	copy(head, "regf")
	le.PutUint32(head[4:], 1)
	le.PutUint32(head[8:], 1)
	le.PutUint32(head[20:], 1)
	le.PutUint32(head[24:], 3)
	le.PutUint32(head[32:], 1)
	le.PutUint32(head[36:], at)
	le.PutUint32(head[40:], uint32(len(h.b)))
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= le.Uint32(head[i:])
	}
	le.PutUint32(head[508:], sum)
	return append(head, h.b...)
}

type hive struct {
	b        []byte
	security uint32
}

// security is a descriptor that allows everything, which other programs expect.
func security() []byte {
	sk := make([]byte, 20, 40)
	copy(sk, "sk")
	binary.LittleEndian.PutUint32(sk[12:], 1)
	binary.LittleEndian.PutUint32(sk[16:], 20)
	return append(sk, 1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// cell adds a cell and gives its offset.
func (h *hive) cell(data []byte) uint32 {
	at := len(h.b)
	size := (len(data) + 4 + 7) &^ 7
	h.b = binary.LittleEndian.AppendUint32(h.b, uint32(-int32(size)))
	h.b = append(h.b, data...)
	h.b = append(h.b, make([]byte, size-4-len(data))...)
	return uint32(at)
}

// key adds a key; its cell is made first, as those below name it.
func (h *hive) key(name string, k Key, parent uint32, flags uint16) uint32 {
	le := binary.LittleEndian
	nk := make([]byte, 76+len(name))
	copy(nk, "nk")
	le.PutUint16(nk[2:], flags)
	le.PutUint32(nk[16:], parent)
	for _, at := range []int{28, 32, 40, 44, 48} {
		le.PutUint32(nk[at:], none)
	}
	le.PutUint32(nk[44:], h.security)
	le.PutUint16(nk[72:], uint16(len(name)))
	copy(nk[76:], name)
	at := h.cell(nk)
	put := func(i int, n uint32) { le.PutUint32(h.b[int(at)+4+i:], n) }
	if len(k.Keys) > 0 {
		put(20, uint32(len(k.Keys)))
		put(28, h.keys(k.Keys, at))
	}
	if len(k.Values) > 0 {
		put(36, uint32(len(k.Values)))
		put(40, h.values(k.Values))
	}
	return at
}

func (h *hive) keys(keys map[string]Key, parent uint32) uint32 {
	list := binary.LittleEndian.AppendUint16([]byte("lf"), uint16(len(keys)))
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		list = binary.LittleEndian.AppendUint32(list, h.key(name, keys[name], parent, 0x20))
		list = append(list, (name + "\x00\x00\x00")[:4]...)
	}
	return h.cell(list)
}

func (h *hive) values(values map[string]any) uint32 {
	le := binary.LittleEndian
	var list []byte
	for _, name := range slices.Sorted(maps.Keys(values)) {
		vk := le.AppendUint16([]byte("vk"), uint16(len(name)))
		switch v := values[name].(type) {
		case uint32:
			vk = le.AppendUint32(vk, 4|1<<31)
			vk = le.AppendUint32(vk, v)
			vk = le.AppendUint32(vk, 4)
		case string:
			var data []byte
			for _, u := range utf16.Encode([]rune(v + "\x00")) {
				data = le.AppendUint16(data, u)
			}
			vk = le.AppendUint32(vk, uint32(len(data)))
			vk = le.AppendUint32(vk, h.cell(data))
			vk = le.AppendUint32(vk, 1)
		}
		vk = append(vk, 1, 0, 0, 0)
		list = le.AppendUint32(list, h.cell(append(vk, name...)))
	}
	return h.cell(list)
}
