package luks

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
)

const (
	header2   = 4096
	checksum2 = 448 // where it is in the header
	maxJSON   = 4 << 20
)

// spareAt is where the second copy of the header can be.
var spareAt = []int64{16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20}

// metadata is the text of a header. Large numbers are strings in it.
type metadata struct {
	Slots    map[string]slot2    `json:"keyslots"`
	Tokens   map[string]token2   `json:"tokens"`
	Segments map[string]segment2 `json:"segments"`
	Digests  map[string]digest2  `json:"digests"`
	Config   struct {
		Requirements struct {
			Mandatory []string `json:"mandatory"`
		} `json:"requirements"`
	} `json:"config"`
}

type slot2 struct {
	Type    string `json:"type"`
	KeySize int    `json:"key_size"`
	AF      struct {
		Type    string `json:"type"`
		Stripes int    `json:"stripes"`
		Hash    string `json:"hash"`
	} `json:"af"`
	Area struct {
		Type       string `json:"type"`
		Offset     string `json:"offset"`
		Encryption string `json:"encryption"`
		KeySize    int    `json:"key_size"`
	} `json:"area"`
	KDF struct {
		Type       string `json:"type"`
		Salt       string `json:"salt"`
		Hash       string `json:"hash"`
		Iterations int    `json:"iterations"`
		Time       int    `json:"time"`
		Memory     int    `json:"memory"`
		CPUs       int    `json:"cpus"`
	} `json:"kdf"`
}

type token2 struct {
	Type string `json:"type"`
}

type segment2 struct {
	Type       string           `json:"type"`
	Offset     string           `json:"offset"`
	Size       string           `json:"size"`
	Tweak      string           `json:"iv_tweak"`
	Encryption string           `json:"encryption"`
	Sector     int              `json:"sector_size"`
	Integrity  *json.RawMessage `json:"integrity"`
}

type digest2 struct {
	Type       string   `json:"type"`
	Slots      []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations int      `json:"iterations"`
	Salt       string   `json:"salt"`
	Digest     string   `json:"digest"`
}

// read2 takes the first copy of the header that is whole. They differ only after a
// crash, and then the first was written first.
func (c *Container) read2(size int64) error {
	for _, at := range append([]int64{0}, spareAt...) {
		b, text, ok := headerAt(c.r, at)
		if !ok {
			continue
		}
		var m metadata
		if err := json.Unmarshal(text, &m); err != nil {
			return broken("its metadata make no sense")
		}
		c.Version, c.UUID, c.Label = 2, block.Text(b[168:208]), block.Text(b[24:72])
		return c.take(&m, size)
	}
	return broken("neither copy of its header has the right checksum")
}

// headerAt reads a copy of the header and its metadata, and checks their sum.
func headerAt(r io.ReaderAt, at int64) (header, text []byte, ok bool) {
	header, err := block.Read(r, at, header2)
	if err != nil {
		return nil, nil, false
	}
	want := magic
	if at != 0 {
		want = magicSpare
	}
	size := binary.BigEndian.Uint64(header[8:])
	if string(header[:6]) != want || binary.BigEndian.Uint64(header[256:]) != uint64(at) || size <= header2 || size > maxJSON {
		return nil, nil, false
	}
	area, err := block.Read(r, at+header2, int(size-header2))
	newHash := hashes()[block.Text(header[72:104])]
	if err != nil || newHash == nil {
		return nil, nil, false
	}
	h := newHash()
	sum := bytes.Clone(header[checksum2 : checksum2+h.Size()])
	clear(header[checksum2 : checksum2+64])
	_, _ = h.Write(header) // a hash does not fail
	_, _ = h.Write(area)
	text, _, _ = bytes.Cut(area, []byte{0})
	return header, text, bytes.Equal(h.Sum(nil), sum)
}

func (c *Container) take(m *metadata, size int64) error {
	if needs := m.Config.Requirements.Mandatory; len(needs) > 0 {
		if strings.Contains(needs[0], "reencrypt") {
			return unsupported("it is being encrypted anew: finish that where it came from, by cryptsetup reencrypt --resume-only")
		}
		return unsupported("it needs %q, which is not known", needs[0])
	}
	if len(m.Slots) > maxSlots {
		return broken("it has %d key slots", len(m.Slots))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Tokens)) {
		if t := m.Tokens[name].Type; t != "" && len(c.Tokens) < maxSlots && !slices.Contains(c.Tokens, t) {
			c.Tokens = append(c.Tokens, t)
		}
	}
	name, err := c.takeSegment(m, size)
	if err != nil {
		return err
	}
	return c.takeSlots(m, name)
}

// takeSegment takes the one segment that such a volume has.
func (c *Container) takeSegment(m *metadata, size int64) (string, error) {
	if len(m.Segments) != 1 {
		return "", unsupported("it has %d segments, and one can be read", len(m.Segments))
	}
	name := slices.Collect(maps.Keys(m.Segments))[0]
	s := m.Segments[name]
	if s.Type != "crypt" || s.Integrity != nil {
		return "", unsupported("a segment of type %q with integrity or without encryption cannot be read", s.Type)
	}
	off, err := strconv.ParseInt(s.Offset, 10, 64)
	if err != nil || off < header2 || off >= size {
		return "", broken("its segment begins at %q", s.Offset)
	}
	length := size - off
	if s.Size != "dynamic" {
		n, err := strconv.ParseInt(s.Size, 10, 64)
		if err != nil || n < 1 {
			return "", broken("its segment has %q bytes", s.Size)
		}
		length = min(length, n)
	}
	tweak, err := strconv.ParseUint(s.Tweak, 10, 64)
	if err != nil || !slices.Contains([]int{512, 1024, 2048, 4096}, s.Sector) {
		return "", broken("its segment makes no sense")
	}
	c.data = segment{off: off, size: length, cipher: s.Encryption, sector: s.Sector, tweak: tweak}
	return name, nil
}

// takeSlots takes the slots whose key opens the segment.
func (c *Container) takeSlots(m *metadata, segment string) error {
	for _, d := range m.Digests {
		if d.Type != kdfPBKDF2 || !slices.Contains(d.Segments, segment) {
			continue
		}
		proof := digest{kdf: kdf{kind: kdfPBKDF2, hash: d.Hash, iterations: d.Iterations, salt: base64Bytes(d.Salt)}, want: base64Bytes(d.Digest)}
		if n := len(proof.want); n < digest1 || n > 64 {
			return broken("the digest of its key has %d bytes", n)
		}
		for _, name := range d.Slots {
			s, ok := m.Slots[name]
			if !ok || s.Type != "luks2" || len(c.slots) >= maxSlots {
				continue
			}
			if err := c.takeSlot(name, &s, proof); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(c.slots, func(a, b slot) int { return strings.Compare(a.name, b.name) })
	return nil
}

func (c *Container) takeSlot(name string, s *slot2, proof digest) error {
	off, err := strconv.ParseInt(s.Area.Offset, 10, 64)
	if err != nil || off < header2 || badKey(s.KeySize) || badKey(s.Area.KeySize) || s.AF.Type != "luks1" || s.AF.Stripes < 1 || s.AF.Stripes > maxStripes {
		return broken("key slot %s makes no sense", name)
	}
	c.slots = append(c.slots, slot{
		name: name, keySize: s.KeySize, derived: s.Area.KeySize, cipher: s.Area.Encryption, off: off, digest: proof,
		af:  antiForensic{stripes: s.AF.Stripes, hash: s.AF.Hash},
		kdf: kdf{kind: s.KDF.Type, hash: s.KDF.Hash, iterations: s.KDF.Iterations, salt: base64Bytes(s.KDF.Salt), passes: s.KDF.Time, memory: s.KDF.Memory, lanes: s.KDF.CPUs},
	})
	return nil
}

// base64Bytes gives nothing for what is none: it then fits no key.
func base64Bytes(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
