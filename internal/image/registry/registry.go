// Package registry reads and changes the hives of the Windows registry.
//
// It reads from the io.ReaderAt it is given, and an Editor gives the bytes of a changed
// hive; it touches nothing else. The layout is that of "Windows registry file
// format specification" by M. Suhanov. The transaction logs beside a hive are not
// applied: a hive that needs them is read as it is, and not changed.
package registry

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

const (
	baseBytes  = 4096
	maxCell    = 1 << 20
	maxKeys    = 100_000
	maxLists   = 1000
	nameLatin  = 0x20 // flag of a key
	valueLatin = 1    // flag of a value
	inline     = 1 << 31
	keyHead    = 76
	valueHead  = 20

	typeText   = 1
	typeExpand = 2
	typeBinary = 3
	typeDWORD  = 4
	typeMulti  = 7
)

// Hive is an open hive.
type Hive struct {
	r     io.ReaderAt
	root  uint32
	whole bool
}

// Whole reports whether the hive was written to its end. The log beside one that was
// not has the rest, and it is not changed.
func (h *Hive) Whole() bool { return h.whole }

// Key is a key of a hive.
type Key struct {
	h    *Hive
	at   uint32
	cell []byte
	Name string
}

// Open opens a hive.
func Open(r io.ReaderAt) (*Hive, error) {
	b, err := block.Read(r, 0, baseBytes)
	if err != nil {
		return nil, err
	}
	if string(b[:4]) != "regf" {
		return nil, broken("it is none")
	}
	le := binary.LittleEndian
	whole := le.Uint32(b[seqAt:]) == le.Uint32(b[seqAt+4:]) && le.Uint32(b[sumAt:]) == checksum(b)
	return &Hive{r: r, root: le.Uint32(b[36:]), whole: whole}, nil
}

func broken(format string, args ...any) error {
	return droveway.Errorf(droveway.Invalid, "registry hive: "+format+": it is damaged", args...)
}

// cell reads a cell, without its size. Offsets count from the first bin.
func (h *Hive) cell(off uint32) ([]byte, error) {
	b, err := block.Read(h.r, baseBytes+int64(off), 4)
	if err != nil {
		return nil, err
	}
	size := -int64(int32(binary.LittleEndian.Uint32(b)))
	if size < 8 || size > maxCell {
		return nil, broken("a cell of %d bytes", size)
	}
	return block.Read(h.r, baseBytes+int64(off)+4, int(size-4))
}

func (h *Hive) key(off uint32) (*Key, error) {
	b, err := h.cell(off)
	if err != nil {
		return nil, err
	}
	if len(b) < keyHead || string(b[:2]) != "nk" {
		return nil, broken("a key makes no sense")
	}
	n := int(binary.LittleEndian.Uint16(b[72:]))
	if keyHead+n > len(b) {
		return nil, broken("a key makes no sense")
	}
	return &Key{h: h, at: off, cell: b, Name: text(b[keyHead:keyHead+n], binary.LittleEndian.Uint16(b[2:])&nameLatin != 0)}, nil
}

// text reads UTF-16, or Latin-1.
func text(b []byte, latin bool) string {
	if latin {
		var s strings.Builder
		for _, c := range b {
			s.WriteRune(rune(c))
		}
		return s.String()
	}
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

// Key gives a key by its path, with backslashes and in any case.
func (h *Hive) Key(path string) (*Key, error) {
	k, err := h.key(h.root)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(path, `\`) {
		if k, err = k.Child(name); err != nil {
			return nil, droveway.Errorf(droveway.KindOf(err), "registry key %s: %w", path, err)
		}
	}
	return k, nil
}

// ControlSet is the name of the key that a hive SYSTEM uses now.
func (h *Hive) ControlSet() (string, error) {
	number := uint32(1)
	k, err := h.Key("Select")
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return "", err
	}
	if err == nil {
		if n, ok := k.Number("Current"); ok {
			number = n
		}
	}
	return fmt.Sprintf("ControlSet%03d", number), nil
}

// Child gives a key below.
func (k *Key) Child(name string) (*Key, error) {
	var found *Key
	err := k.Children(func(c *Key) bool {
		if strings.EqualFold(c.Name, name) {
			found = c
		}
		return found == nil
	})
	if err == nil && found == nil {
		err = droveway.Errorf(droveway.NotFound, "no key %s", name)
	}
	return found, err
}

// Children calls fn for the keys below, until it says no.
func (k *Key) Children(fn func(*Key) bool) error {
	le := binary.LittleEndian
	if le.Uint32(k.cell[20:]) == 0 {
		return nil
	}
	left := maxKeys
	_, err := k.h.list(le.Uint32(k.cell[28:]), 0, func(off uint32) (bool, error) {
		if left--; left < 0 {
			return false, broken("too many keys")
		}
		c, err := k.h.key(off)
		if err != nil {
			return false, err
		}
		return fn(c), nil
	})
	return err
}

// list goes through a list of keys, or of such lists.
func (h *Hive) list(off uint32, depth int, fn func(uint32) (bool, error)) (bool, error) {
	b, err := h.cell(off)
	if err != nil {
		return false, err
	}
	kind, count, size := string(b[:2]), int(binary.LittleEndian.Uint16(b[2:])), 8
	switch kind {
	case "lf", "lh":
	case "li", "ri":
		size = 4
	default:
		return false, broken("a list of keys makes no sense")
	}
	if 4+count*size > len(b) || depth > 1 || kind == "ri" && count > maxLists {
		return false, broken("a list of keys makes no sense")
	}
	for i := range count {
		at := binary.LittleEndian.Uint32(b[4+i*size:])
		var more bool
		if kind == "ri" {
			more, err = h.list(at, depth+1, fn)
		} else {
			more, err = fn(at)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// Text gives a value as text: a number in decimal, several texts with a blank
// between them. It is empty if there is no such value.
func (k *Key) Text(name string) string {
	kind, data, err := k.value(name)
	if err != nil {
		return ""
	}
	switch kind {
	case typeText, typeExpand, typeMulti:
		return strings.TrimSpace(strings.ReplaceAll(text(data, false), "\x00", " "))
	}
	return ""
}

// Number gives a value that is a number.
func (k *Key) Number(name string) (uint32, bool) {
	kind, data, err := k.value(name)
	if err != nil || kind != typeDWORD || len(data) < 4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(data), true
}

func (k *Key) value(name string) (kind uint32, data []byte, err error) {
	at, err := k.valueAt(name)
	if err != nil {
		return 0, nil, err
	}
	v, err := k.h.cell(at)
	if err != nil {
		return 0, nil, err
	}
	data, err = k.h.data(v)
	return binary.LittleEndian.Uint32(v[12:]), data, err
}

// valueAt gives the place of a value, whose cell is one.
func (k *Key) valueAt(name string) (uint32, error) {
	le := binary.LittleEndian
	count := le.Uint32(k.cell[36:])
	if count == 0 || count > maxKeys {
		return 0, droveway.Errorf(droveway.NotFound, "no value %s", name)
	}
	list, err := k.h.cell(le.Uint32(k.cell[40:]))
	if err != nil {
		return 0, err
	}
	for i := 0; i < int(count) && 4*i+4 <= len(list); i++ {
		at := le.Uint32(list[4*i:])
		v, err := k.h.cell(at)
		if err != nil {
			return 0, err
		}
		if len(v) < valueHead {
			return 0, broken("a value makes no sense")
		}
		n := int(le.Uint16(v[2:]))
		if string(v[:2]) != "vk" || valueHead+n > len(v) {
			return 0, broken("a value makes no sense")
		}
		if strings.EqualFold(text(v[valueHead:valueHead+n], le.Uint16(v[16:])&valueLatin != 0), name) {
			return at, nil
		}
	}
	return 0, droveway.Errorf(droveway.NotFound, "no value %s", name)
}

func (h *Hive) data(v []byte) ([]byte, error) {
	size := binary.LittleEndian.Uint32(v[4:])
	if size&inline != 0 {
		return v[8 : 8+min(4, size&^inline)], nil
	}
	b, err := h.cell(binary.LittleEndian.Uint32(v[8:]))
	if err != nil {
		return nil, err
	}
	return b[:min(int64(len(b)), int64(size))], nil
}
