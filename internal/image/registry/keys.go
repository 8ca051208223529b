package registry

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/droveway/droveway"
)

const (
	maxName = 255
	// maxLeaf is the most keys of one list; Windows divides longer ones, too.
	maxLeaf = 500
)

// add adds a key below another one, with its security.
func (e *Editor) add(parent uint32, name string) (uint32, error) {
	if name == "" || len(wide(name)) > 2*maxName {
		return 0, droveway.Errorf(droveway.Invalid, "%q is no name of a registry key", name)
	}
	p, err := e.key(parent)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	security := le.Uint32(p.cell[44:])
	text, latin := encode(name)
	nk := append(make([]byte, keyHead), text...)
	copy(nk, "nk")
	if latin {
		le.PutUint16(nk[2:], nameLatin)
	}
	le.PutUint64(nk[4:], e.now)
	le.PutUint32(nk[16:], parent)
	for _, field := range []int{28, 32, 40, 48} {
		le.PutUint32(nk[field:], none)
	}
	le.PutUint32(nk[44:], security)
	le.PutUint16(nk[72:], uint16(len(text)))
	at, err := e.c.put(nk)
	if err != nil {
		return 0, err
	}
	if err := e.share(security); err != nil {
		return 0, err
	}
	if err := e.link(parent, at, name); err != nil {
		return 0, err
	}
	return at, e.grown(parent, largestKey, uint32(len(wide(name))))
}

// share counts one more user of a security descriptor.
func (e *Editor) share(security uint32) error {
	cell, err := e.c.at(security)
	if err != nil || len(cell) < 16 || string(cell[:2]) != "sk" {
		return broken("the security of a key makes no sense")
	}
	binary.LittleEndian.PutUint32(cell[12:], binary.LittleEndian.Uint32(cell[12:])+1)
	return nil
}

// link puts a key into the list of its parent.
func (e *Editor) link(parent, key uint32, name string) error {
	p, err := e.key(parent)
	if err != nil {
		return err
	}
	count, list := binary.LittleEndian.Uint32(p.cell[20:]), binary.LittleEndian.Uint32(p.cell[28:])
	if count >= maxKeys {
		return broken("too many keys")
	}
	if count == 0 {
		list = none
	}
	at, err := e.insert(list, key, name)
	if err != nil {
		return err
	}
	if err := e.put(parent, 28, at); err != nil {
		return err
	}
	return e.put(parent, 20, count+1)
}

// leaf is a list of keys: each its place, and what its kind has beside it.
type leaf struct {
	kind    string // "lf", "lh" or "li"
	entries []byte
}

func (l *leaf) width() int {
	if l.kind == "li" {
		return 4
	}
	return 8
}

// insert puts a key into a list and gives the place of the new list.
func (e *Editor) insert(list, key uint32, name string) (uint32, error) {
	if list == none {
		return e.write(&leaf{kind: e.leafKind()}, key, name)
	}
	b, err := e.c.at(list)
	if err != nil || len(b) < 4 {
		return 0, broken("a list of keys makes no sense")
	}
	if string(b[:2]) == "ri" {
		return e.insertBelow(list, key, name)
	}
	l, err := leafOf(b)
	if err != nil {
		return 0, err
	}
	e.c.release(list)
	return e.write(l, key, name)
}

// leafKind is that of the hive's version.
func (e *Editor) leafKind() string {
	if binary.LittleEndian.Uint32(e.c.b[24:]) >= 5 {
		return "lh"
	}
	return "lf"
}

func leafOf(b []byte) (*leaf, error) {
	l := &leaf{kind: string(b[:2])}
	if l.kind != "lf" && l.kind != "lh" && l.kind != "li" {
		return nil, broken("a list of keys makes no sense")
	}
	n := int(binary.LittleEndian.Uint16(b[2:])) * l.width()
	if n > len(b)-4 {
		return nil, broken("a list of keys makes no sense")
	}
	l.entries = slices.Clone(b[4 : 4+n])
	return l, nil
}

// write stores a list with one more key, as two lists if it gets long.
func (e *Editor) write(l *leaf, key uint32, name string) (uint32, error) {
	i, err := e.position(l, name)
	if err != nil {
		return 0, err
	}
	entry := binary.LittleEndian.AppendUint32(nil, key)
	if l.kind != "li" {
		entry = append(entry, hint(l.kind, name)...)
	}
	w := l.width()
	l.entries = slices.Insert(l.entries, i*w, entry...)
	n := len(l.entries) / w
	if n <= maxLeaf {
		return e.putList(l.kind, l.entries, n)
	}
	half := n / 2
	var tops []byte
	for _, part := range []struct {
		b []byte
		n int
	}{{l.entries[:half*w], half}, {l.entries[half*w:], n - half}} {
		at, err := e.putList(l.kind, part.b, part.n)
		if err != nil {
			return 0, err
		}
		tops = binary.LittleEndian.AppendUint32(tops, at)
	}
	return e.putList("ri", tops, 2)
}

func (e *Editor) putList(kind string, entries []byte, n int) (uint32, error) {
	return e.c.put(append(binary.LittleEndian.AppendUint16([]byte(kind), uint16(n)), entries...))
}

// insertBelow puts a key into one of the lists of a list.
func (e *Editor) insertBelow(top, key uint32, name string) (uint32, error) {
	le := binary.LittleEndian
	b, err := e.c.at(top)
	if err != nil {
		return 0, err
	}
	n := int(le.Uint16(b[2:]))
	if n == 0 || n > maxLists || 4+4*n > len(b) {
		return 0, broken("a list of keys makes no sense")
	}
	tops := slices.Clone(b[4 : 4+4*n])
	i, err := e.which(tops, name)
	if err != nil {
		return 0, err
	}
	below, err := e.c.at(le.Uint32(tops[4*i:]))
	if err != nil {
		return 0, err
	}
	l, err := leafOf(below)
	if err != nil {
		return 0, err
	}
	e.c.release(le.Uint32(tops[4*i:]))
	at, err := e.write(l, key, name)
	if err != nil {
		return 0, err
	}
	parts := le.AppendUint32(nil, at)
	if b, err = e.c.at(at); err == nil && string(b[:2]) == "ri" { // it was divided
		parts = slices.Clone(b[4:12])
		e.c.release(at)
	}
	tops = slices.Replace(tops, 4*i, 4*i+4, parts...)
	e.c.release(top)
	return e.putList("ri", tops, len(tops)/4)
}

// which of several lists is the one that a name belongs to: the last whose first
// key is not behind it.
func (e *Editor) which(tops []byte, name string) (int, error) {
	for i := len(tops)/4 - 1; i > 0; i-- {
		b, err := e.c.at(binary.LittleEndian.Uint32(tops[4*i:]))
		if err != nil {
			return 0, err
		}
		l, err := leafOf(b)
		if err != nil {
			return 0, err
		}
		if len(l.entries) == 0 {
			continue
		}
		first, err := e.key(binary.LittleEndian.Uint32(l.entries))
		if err != nil {
			return 0, err
		}
		if compare(first.Name, name) <= 0 {
			return i, nil
		}
	}
	return 0, nil
}

// position is where in a list a name belongs: lists are in order, without regard
// to case.
func (e *Editor) position(l *leaf, name string) (int, error) {
	w := l.width()
	low, high := 0, len(l.entries)/w
	for low < high {
		mid := (low + high) / 2
		k, err := e.key(binary.LittleEndian.Uint32(l.entries[mid*w:]))
		if err != nil {
			return 0, err
		}
		if compare(k.Name, name) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

func compare(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(strings.ToUpper(a))), utf16.Encode([]rune(strings.ToUpper(b))))
}

// hint is what stands beside a key in a list: the front of its name, or a number
// made of it.
func hint(kind, name string) []byte {
	if kind == "lf" {
		b := make([]byte, 4)
		for i, r := range []rune(name) {
			if i < 4 && r <= 0xff {
				b[i] = byte(r)
			}
		}
		return b
	}
	var n uint32
	for _, u := range utf16.Encode([]rune(strings.ToUpper(name))) {
		n = n*37 + uint32(u)
	}
	return binary.LittleEndian.AppendUint32(nil, n)
}
