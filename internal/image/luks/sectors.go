package luks

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"io"
	"strings"

	"golang.org/x/crypto/xts"

	"github.com/droveway/droveway/internal/image/block"
)

// sectors decrypts sectors, each by its number, which counts units of 512 bytes
// whatever their size.
type sectors struct {
	size int
	one  func(b []byte, number uint64)
}

// newSectors takes the name of a cipher as cryptsetup writes it:
// cipher-mode-iv[:hash].
func newSectors(name string, key []byte, size int) (*sectors, error) {
	algorithm, mode, _ := strings.Cut(name, "-")
	if algorithm != "aes" {
		return nil, unsupported("cipher %q cannot be read, only AES in the modes XTS and CBC", name)
	}
	switch mode {
	case "xts-plain64", "xts-plain":
		x, err := xts.NewCipher(aes.NewCipher, key)
		if err != nil {
			return nil, broken("a key of %d bytes for %s", len(key), name)
		}
		return &sectors{size, func(b []byte, n uint64) { x.Decrypt(b, b, narrow(mode, n)) }}, nil
	case "cbc-plain64", "cbc-plain":
		c, err := aes.NewCipher(key)
		if err != nil {
			return nil, broken("a key of %d bytes for %s", len(key), name)
		}
		return &sectors{size, func(b []byte, n uint64) { decryptCBC(c, b, vector(narrow(mode, n))) }}, nil
	}
	if hash, ok := strings.CutPrefix(mode, "cbc-essiv:"); ok {
		return newESSIV(name, hash, key, size)
	}
	return nil, unsupported("cipher %q cannot be read, only AES in the modes XTS and CBC", name)
}

// narrow keeps the 32 bits that "plain" uses of a number.
func narrow(mode string, n uint64) uint64 {
	if strings.HasSuffix(mode, "-plain") {
		return uint64(uint32(n))
	}
	return n
}

// newESSIV makes vectors by encrypting the number with the hash of the key.
func newESSIV(name, hash string, key []byte, size int) (*sectors, error) {
	newHash, err := hashNamed(hash)
	if err != nil {
		return nil, err
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, broken("a key of %d bytes for %s", len(key), name)
	}
	h := newHash()
	_, _ = h.Write(key) // a hash does not fail
	salted, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, unsupported("cipher %q: its hash gives no key of AES", name)
	}
	return &sectors{size, func(b []byte, n uint64) {
		iv := vector(n)
		salted.Encrypt(iv, iv)
		decryptCBC(c, b, iv)
	}}, nil
}

func vector(n uint64) []byte {
	iv := make([]byte, aes.BlockSize)
	binary.LittleEndian.PutUint64(iv, n)
	return iv
}

func decryptCBC(c cipher.Block, b, iv []byte) {
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(b, b)
}

// decrypt decrypts whole sectors in place, of which the first has a number.
func (s *sectors) decrypt(b []byte, number uint64) {
	for ; len(b) >= s.size; b = b[s.size:] {
		s.one(b[:s.size], number)
		number += uint64(s.size / sector)
	}
}

// reader reads what a segment holds.
func (g *segment) reader(r io.ReaderAt, key []byte) (Volume, error) {
	s, err := newSectors(g.cipher, key, g.sector)
	if err != nil {
		return Volume{}, err
	}
	size := g.size / int64(g.sector) * int64(g.sector)
	return Volume{
		&decrypted{block.Section(r, g.off, size), s, g.tweak, size}, size,
		Mapping{Cipher: g.cipher, Key: key, Offset: g.off, Sector: g.sector, Tweak: g.tweak},
	}, nil
}

// decrypted is a reader that decrypts.
type decrypted struct {
	r     io.ReaderAt
	s     *sectors
	tweak uint64
	size  int64
}

// pieceBytes is how much is decrypted at once; it is a whole number of sectors.
const pieceBytes = 64 << 10

// ReadAt reads and decrypts the sectors that p needs.
func (d *decrypted) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, d.size)
	if done {
		return 0, io.EOF
	}
	unit := int64(d.s.size)
	buf := make([]byte, min(pieceBytes, (int64(len(q))+2*unit-1)/unit*unit))
	n := 0
	for n < len(q) {
		at := off + int64(n)
		from := at / unit * unit
		b := buf[:min(int64(len(buf)), d.size-from)]
		if err := block.Full(d.r, b, from); err != nil {
			return n, err
		}
		d.s.decrypt(b, d.tweak+uint64(from/sector))
		n += copy(q[n:], b[at-from:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
