package registry

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/droveway/droveway"
)

// maxData is the longest value that fits into one cell of every version of hives.
const maxData = 16344

// Value is what is stored under a name.
type Value struct {
	kind uint32
	data []byte
}

// Raw is a value of any type, by its number.
func Raw(kind uint32, data []byte) Value { return Value{kind, slices.Clone(data)} }

// Raw gives the number of the type, and the data.
func (v Value) Raw() (kind uint32, data []byte) { return v.kind, slices.Clone(v.data) }

// Text is a value of type REG_SZ.
func Text(s string) Value { return Value{typeText, wide(s + "\x00")} }

// Expand is a value of type REG_EXPAND_SZ.
func Expand(s string) Value { return Value{typeExpand, wide(s + "\x00")} }

// Texts is a value of type REG_MULTI_SZ.
func Texts(s ...string) Value {
	return Value{typeMulti, wide(strings.Join(s, "\x00") + "\x00\x00")}
}

// Number is a value of type REG_DWORD.
func Number(n uint32) Value {
	return Value{typeDWORD, binary.LittleEndian.AppendUint32(nil, n)}
}

// Binary is a value of type REG_BINARY.
func Binary(b []byte) Value { return Value{typeBinary, slices.Clone(b)} }

func wide(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// Editor changes a copy of a hive. After an error its copy is of no use.
type Editor struct {
	*Hive
	c   *cells
	now uint64 // in units of Windows
}

// Edit begins to change a copy of the hive b. A hive that Windows has not written
// to its end is a Conflict.
func Edit(b []byte, now time.Time) (*Editor, error) {
	c, err := newCells(slices.Clone(b))
	if err != nil {
		return nil, err
	}
	h, err := Open(c)
	if err != nil {
		return nil, err
	}
	const from1601 = 11644473600 // seconds to 1970
	return &Editor{Hive: h, c: c, now: uint64(now.Unix()+from1601) * 10_000_000}, nil
}

// Bytes closes the changes and gives the new hive: its numbers say that it was
// written to its end.
func (e *Editor) Bytes() ([]byte, error) {
	le := binary.LittleEndian
	seq := le.Uint32(e.c.b[seqAt:]) + 1
	le.PutUint32(e.c.b[seqAt:], seq)
	le.PutUint32(e.c.b[seqAt+4:], seq)
	le.PutUint64(e.c.b[timeAt:], e.now)
	le.PutUint32(e.c.b[sumAt:], checksum(e.c.b))
	check, err := newCells(e.c.b) // what we wrote must be whole
	if err != nil {
		return nil, err
	}
	return slices.Clone(check.b), nil
}

// Set stores a value under a name of a key, whose path is made as far as it is
// missing.
func (e *Editor) Set(path, name string, v Value) error {
	if len(v.data) > maxData {
		return droveway.Errorf(droveway.Invalid, "registry value %s of %s: %d bytes are too many", name, path, len(v.data))
	}
	key, err := e.Make(path)
	if err == nil {
		err = e.set(key, name, v)
	}
	if err != nil {
		return droveway.Errorf(droveway.KindOf(err), "set registry value %s of %s: %w", name, path, err)
	}
	return nil
}

// Make makes a key with those above it, and gives its place.
func (e *Editor) Make(path string) (uint32, error) {
	at := e.root
	for name := range strings.SplitSeq(path, `\`) {
		next, err := e.child(at, name)
		if droveway.Is(err, droveway.NotFound) {
			next, err = e.add(at, name)
		}
		if err != nil {
			return 0, err
		}
		at = next
	}
	return at, nil
}

// child gives the place of a key below.
func (e *Editor) child(key uint32, name string) (uint32, error) {
	k, err := e.key(key)
	if err != nil {
		return 0, err
	}
	c, err := k.Child(name)
	if err != nil {
		return 0, err
	}
	return c.at, nil
}

func (e *Editor) set(key uint32, name string, v Value) error {
	k, err := e.key(key)
	if err != nil {
		return err
	}
	at, err := k.valueAt(name)
	if droveway.Is(err, droveway.NotFound) {
		at, err = e.addValue(key, name)
	}
	if err != nil {
		return err
	}
	if err := e.store(at, v); err != nil {
		return err
	}
	return e.grown(key, largestValue, uint32(len(v.data)))
}

// store puts the data of a value into itself or into a cell.
func (e *Editor) store(value uint32, v Value) error {
	le := binary.LittleEndian
	cell, err := e.c.at(value)
	if err != nil || len(cell) < valueHead {
		return broken("a value makes no sense")
	}
	if size := le.Uint32(cell[4:]); size&inline == 0 && size > 0 && size <= maxData {
		e.c.release(le.Uint32(cell[8:]))
	}
	size, where := uint32(len(v.data)), uint32(0)
	if size <= 4 {
		var b [4]byte
		copy(b[:], v.data)
		size, where = size|inline, le.Uint32(b[:])
	} else if where, err = e.c.put(v.data); err != nil {
		return err
	}
	if cell, err = e.c.at(value); err != nil || len(cell) < valueHead {
		return broken("a value makes no sense")
	}
	le.PutUint32(cell[4:], size)
	le.PutUint32(cell[8:], where)
	le.PutUint32(cell[12:], v.kind)
	return nil
}

// addValue adds an empty value to a key.
func (e *Editor) addValue(key uint32, name string) (uint32, error) {
	le := binary.LittleEndian
	text, latin := encode(name)
	vk := append(make([]byte, valueHead), text...)
	copy(vk, "vk")
	le.PutUint16(vk[2:], uint16(len(text)))
	le.PutUint32(vk[4:], inline)
	if latin {
		le.PutUint16(vk[16:], valueLatin)
	}
	at, err := e.c.put(vk)
	if err != nil {
		return 0, err
	}
	k, err := e.key(key)
	if err != nil {
		return 0, err
	}
	var list []byte
	count, old := le.Uint32(k.cell[36:]), le.Uint32(k.cell[40:])
	if count > 0 {
		b, err := e.c.at(old)
		if err != nil || count > maxKeys || len(b) < int(count)*4 {
			return 0, broken("a list of values makes no sense")
		}
		list = slices.Clone(b[:count*4])
		e.c.release(old)
	}
	listAt, err := e.c.put(le.AppendUint32(list, at))
	if err != nil {
		return 0, err
	}
	if err := e.put(key, 36, count+1); err != nil {
		return 0, err
	}
	if err := e.put(key, 40, listAt); err != nil {
		return 0, err
	}
	return at, e.grown(key, largestName, uint32(len(wide(name))))
}

// Places in a key of what is the largest below it.
const (
	largestKey   = 52
	largestName  = 60
	largestValue = 64
)

// grown keeps the largest size in a key up to date, and when it was changed.
func (e *Editor) grown(key, field, size uint32) error {
	cell, err := e.c.at(key)
	if err != nil || len(cell) < keyHead {
		return broken("a key makes no sense")
	}
	le := binary.LittleEndian
	le.PutUint64(cell[4:], e.now)
	// The upper half of the first of them has flags.
	old, mask := le.Uint32(cell[field:]), uint32(0xffffffff)
	if field == largestKey {
		mask = 0xffff
	}
	if old&mask < size {
		le.PutUint32(cell[field:], old&^mask|size&mask)
	}
	return nil
}

// put writes a number into a key.
func (e *Editor) put(key, field, n uint32) error {
	cell, err := e.c.at(key)
	if err != nil || len(cell) < keyHead {
		return broken("a key makes no sense")
	}
	binary.LittleEndian.PutUint32(cell[field:], n)
	return nil
}

// encode gives a name as Latin-1 if that is possible, or else as UTF-16.
func encode(name string) (b []byte, latin bool) {
	for _, r := range name {
		if r > 0xff {
			return wide(name), false
		}
		b = append(b, byte(r))
	}
	return b, true
}

// String writes a value as a .reg file has it.
func (v Value) String() string {
	switch v.kind {
	case typeText:
		return strconv.Quote(strings.TrimSuffix(text(v.data, false), "\x00"))
	case typeDWORD:
		return fmt.Sprintf("dword:%08x", binary.LittleEndian.Uint32(v.data))
	case typeBinary:
		return fmt.Sprintf("hex:%x", v.data)
	}
	return fmt.Sprintf("hex(%x):%x", v.kind, v.data)
}
