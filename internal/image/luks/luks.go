package luks

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

const (
	magic      = "LUKS\xba\xbe"
	magicSpare = "SKUL\xba\xbe"
	sector     = 512
	maxSlots   = 32
	maxKey     = 128 // bytes of a volume key
	maxStripes = 4000
)

// Container is an encrypted volume.
type Container struct {
	Version int
	UUID    string
	Label   string
	Tokens  []string // kinds of other ways to open it, as "systemd-tpm2"

	r     io.ReaderAt
	slots []slot
	data  segment
}

// slot keeps the volume key, encrypted by a key that is derived from a passphrase.
type slot struct {
	name    string
	kdf     kdf
	af      antiForensic
	keySize int    // of the volume key
	derived int    // size of the key that is derived
	cipher  string // of the area
	off     int64  // of the area
	digest  digest // what the right volume key gives
}

// segment is where the contents lie.
type segment struct {
	off, size int64
	cipher    string
	sector    int
	tweak     uint64 // the number of the first sector
}

// Open reads the header of a volume of size bytes.
func Open(r io.ReaderAt, size int64) (*Container, error) {
	b, err := block.Read(r, 0, header1)
	if err != nil {
		return nil, err
	}
	if string(b[:6]) != magic {
		return nil, broken("it has no header")
	}
	c := &Container{r: r}
	switch b[7] {
	case 1:
		err = c.read1(b, size)
	case 2:
		err = c.read2(size)
	default:
		err = droveway.Errorf(droveway.Unsupported, "LUKS: version %d is not known", b[7])
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func broken(format string, args ...any) error {
	return droveway.Errorf(droveway.Invalid, "LUKS: "+format+": it is damaged", args...)
}

func unsupported(format string, args ...any) error {
	return droveway.Errorf(droveway.Unsupported, "LUKS: "+format, args...)
}

func badKey(size int) bool { return size < 1 || size > maxKey }

// Volume is what is inside a container.
type Volume struct {
	io.ReaderAt
	Size    int64
	Mapping Mapping
}

// Mapping is how Linux's dm-crypt gives the same. It has the volume key: whoever takes
// it must neither keep nor show it.
type Mapping struct {
	Cipher string // cipher-mode-iv[:hash]
	Key    []byte
	Offset int64  // of the contents in the container, in bytes
	Sector int    // bytes of what is encrypted at once
	Tweak  uint64 // the number of the first sector, in units of 512 bytes
}

// Unlock opens the volume with a passphrase, or the contents of a key file. The
// error is Permission if no slot takes it, Unsupported if the container needs what
// we lack.
func (c *Container) Unlock(ctx context.Context, pass []byte) (Volume, error) {
	var skipped error
	for i := range c.slots {
		if err := context.Cause(ctx); err != nil {
			return Volume{}, droveway.Errorf(droveway.Unavailable, "LUKS: unlock: %w", err)
		}
		key, err := c.slots[i].open(c.r, pass)
		if err != nil {
			skipped = err
			continue
		}
		if key == nil {
			continue
		}
		return c.data.reader(c.r, key)
	}
	if skipped != nil {
		return Volume{}, skipped
	}
	return Volume{}, droveway.Errorf(droveway.Permission, "LUKS: none of its %d key slots takes this key", len(c.slots))
}

// open gives the volume key, nil if pass is not the one of this slot.
func (s *slot) open(r io.ReaderAt, pass []byte) ([]byte, error) {
	derived, err := s.kdf.derive(pass, s.derived)
	if err != nil {
		return nil, fmt.Errorf("key slot %s: %w", s.name, err)
	}
	area, err := newSectors(s.cipher, derived, sector)
	if err != nil {
		return nil, fmt.Errorf("key slot %s: %w", s.name, err)
	}
	length := s.keySize * s.af.stripes
	split, err := block.Read(r, s.off, (length+sector-1)/sector*sector)
	if err != nil {
		return nil, err
	}
	area.decrypt(split, 0)
	key, err := s.af.merge(split[:length], s.keySize)
	if err != nil {
		return nil, fmt.Errorf("key slot %s: %w", s.name, err)
	}
	got, err := s.digest.kdf.derive(key, len(s.digest.want))
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(got, s.digest.want) != 1 {
		return nil, nil
	}
	return key, nil
}
