package ntfs

import (
	"encoding/binary"
	"io"
	"sort"
	"unicode/utf16"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	recordInUse    = 1
	recordDir      = 2
	attrCompressed = 0x00ff
	attrEncrypted  = 0x4000
	maxAttributes  = 1000
	maxRuns        = 1 << 18
	maxParts       = 1000 // records over which a file's attributes are spread
	maxList        = 1 << 20
)

// record is an entry of the master file table.
type record struct {
	v      *volume
	number uint64
	flags  uint16
	attrs  []attribute
	parts  []attribute // in other records
	joined bool
}

type attribute struct {
	kind  uint32
	name  string
	flags uint16
	first uint64 // cluster of the stream at which this piece begins
	data  []byte // resident
	runs  []byte
	real  uint64
	valid uint64
}

func (v *volume) parseRecord(number uint64, b []byte) (*record, error) {
	if err := fixUp(b, "FILE"); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	r := &record{v: v, number: number, flags: le.Uint16(b[22:])}
	at := int(le.Uint16(b[20:]))
	for range maxAttributes {
		if at+16 > len(b) || le.Uint32(b[at:]) == attrEnd {
			return r, nil
		}
		length := int64(le.Uint32(b[at+4:]))
		if length < 24 || length > int64(len(b)-at) {
			return nil, filesystem.Broken("ntfs: record %d makes no sense", number)
		}
		a, err := parseAttribute(b[at : at+int(length)])
		if err != nil {
			return nil, err
		}
		r.attrs = append(r.attrs, a)
		at += int(length)
	}
	return nil, filesystem.Broken("ntfs: record %d has too many attributes", number)
}

func parseAttribute(b []byte) (attribute, error) {
	le := binary.LittleEndian
	a := attribute{kind: le.Uint32(b), flags: le.Uint16(b[12:])}
	bad := filesystem.Broken("ntfs: an attribute of type %#x makes no sense", a.kind)
	if n, off := int(b[9])*2, int(le.Uint16(b[10:])); n > 0 {
		if off+n > len(b) {
			return a, bad
		}
		a.name = utf16Text(b[off : off+n])
	}
	if b[8] == 0 {
		n, off := int64(le.Uint32(b[16:])), int64(le.Uint16(b[20:]))
		if off+n > int64(len(b)) {
			return a, bad
		}
		a.data, a.real = b[off:off+n], uint64(n)
		return a, nil
	}
	if len(b) < 64 {
		return a, bad
	}
	off := int(le.Uint16(b[32:]))
	if off > len(b) {
		return a, bad
	}
	a.first, a.runs, a.real, a.valid = le.Uint64(b[16:]), b[off:], le.Uint64(b[48:]), le.Uint64(b[56:])
	return a, nil
}

// join follows the attribute list to the other records of a file, once.
func (r *record) join() error {
	if r.joined {
		return nil
	}
	r.joined = true
	for _, a := range r.attrs {
		if a.kind != attrList {
			continue
		}
		s, err := r.v.assemble([]attribute{a})
		if err != nil {
			return err
		}
		list, err := s.all(maxList)
		if err != nil {
			return err
		}
		return r.joinList(list)
	}
	return nil
}

func (r *record) joinList(list []byte) error {
	seen := map[uint64]bool{r.number: true}
	for len(list) >= 26 {
		length := int(binary.LittleEndian.Uint16(list[4:]))
		if length < 26 || length > len(list) {
			return filesystem.Broken("ntfs: the attribute list of record %d makes no sense", r.number)
		}
		number := binary.LittleEndian.Uint64(list[16:]) & (1<<48 - 1)
		list = list[length:]
		if seen[number] {
			continue
		}
		if seen[number] = true; len(seen) > maxParts {
			return filesystem.Broken("ntfs: record %d is spread over too many others", r.number)
		}
		other, err := r.v.record(number)
		if err != nil {
			return err
		}
		r.parts = append(r.parts, other.attrs...)
	}
	return nil
}

// stream gives the contents of an attribute.
func (r *record) stream(kind uint32, name string) (*stream, error) {
	if err := r.join(); err != nil {
		return nil, err
	}
	var pieces []attribute
	for _, list := range [][]attribute{r.attrs, r.parts} {
		for _, a := range list {
			if a.kind == kind && a.name == name {
				pieces = append(pieces, a)
			}
		}
	}
	if len(pieces) == 0 {
		return nil, droveway.Errorf(droveway.NotFound, "ntfs: record %d has no attribute %#x", r.number, kind)
	}
	return r.v.assemble(pieces)
}

// run is clusters in a row; place is -1 for a hole.
type run struct{ first, count, place int64 }

// stream is the contents of an attribute, resident or by its runs.
type stream struct {
	v     *volume
	data  []byte
	runs  []run
	size  int64
	valid int64 // beyond it are zeros
	why   error // it cannot be read
}

func (v *volume) assemble(pieces []attribute) (*stream, error) {
	a := pieces[0]
	if a.real > 1<<56 || a.valid > 1<<56 {
		return nil, filesystem.Broken("ntfs: an attribute of %d bytes", a.real)
	}
	s := &stream{v: v, data: a.data, size: int64(a.real), valid: int64(a.valid)}
	if a.data != nil || a.runs == nil {
		s.valid = s.size
		return s, nil
	}
	if a.flags&(attrCompressed|attrEncrypted) != 0 {
		s.why = droveway.Missing("ntfs-compression", "ntfs: a compressed or encrypted file cannot be read")
	}
	for _, p := range pieces {
		if err := s.addRuns(int64(p.first), p.runs); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// addRuns reads pairs of numbers, whose sizes stand before them: how many
// clusters, and how far from the run before.
func (s *stream) addRuns(first int64, b []byte) error {
	bad := filesystem.Broken("ntfs: a run list makes no sense")
	place := int64(0)
	for len(b) > 0 && b[0] != 0 {
		n, m := int(b[0]&0xf), int(b[0]>>4)
		if n == 0 || n > 8 || m > 8 || 1+n+m > len(b) || len(s.runs) >= maxRuns {
			return bad
		}
		count, delta := signed(b[1:1+n]), signed(b[1+n:1+n+m])
		b = b[1+n+m:]
		last := int64(0)
		if len(s.runs) > 0 {
			last = s.runs[len(s.runs)-1].first + s.runs[len(s.runs)-1].count
		}
		if count <= 0 || count > 1<<40 || first != last || first > 1<<40 {
			return bad
		}
		r := run{first, count, -1}
		if m > 0 {
			if place += delta; place < 0 || place > 1<<42 {
				return bad
			}
			r.place = place
		}
		s.runs = append(s.runs, r)
		first += count
	}
	return nil
}

func signed(b []byte) int64 {
	var n int64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | int64(b[i])
	}
	if len(b) > 0 && len(b) < 8 && b[len(b)-1]&0x80 != 0 {
		n -= 1 << (8 * len(b))
	}
	return n
}

func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, s.size)
	if done {
		return 0, io.EOF
	}
	if s.why != nil {
		return 0, s.why
	}
	var err error
	if s.runs == nil {
		copy(q, s.data[min(off, int64(len(s.data))):])
	} else {
		err = s.readRuns(q, off)
	}
	if err == nil && len(q) < len(p) {
		err = io.EOF
	}
	return len(q), err
}

func (s *stream) readRuns(q []byte, off int64) error {
	clear(q)
	size := s.v.cluster
	end := off + int64(len(q))
	if s.valid > 0 {
		end = min(end, s.valid)
	}
	from := sort.Search(len(s.runs), func(i int) bool { return (s.runs[i].first+s.runs[i].count)*size > off })
	for _, r := range s.runs[from:] {
		lo, hi := max(off, r.first*size), min(end, (r.first+r.count)*size)
		if lo >= hi {
			break
		}
		if r.place < 0 {
			continue
		}
		if err := block.Full(s.v.r, q[lo-off:hi-off], (r.place-r.first)*size+lo); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) all(most int64) ([]byte, error) {
	b := make([]byte, min(s.size, most))
	n, err := s.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

func utf16Text(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}
