package luks

import (
	"encoding/binary"
	"strconv"

	"github.com/droveway/droveway/internal/image/block"
)

const (
	header1     = 592
	slots1      = 208
	slot1       = 48
	slotCount1  = 8
	slotEnabled = 0x00ac71f3
	digest1     = 20
	salt1       = 32
)

// read1 reads the header of version 1, whose numbers are big-endian.
func (c *Container) read1(b []byte, size int64) error {
	be := binary.BigEndian
	cipher := block.Text(b[8:40]) + "-" + block.Text(b[40:72])
	hash := block.Text(b[72:104])
	keySize := int(be.Uint32(b[108:]))
	c.Version, c.UUID = 1, block.Text(b[168:208])
	c.data = segment{off: int64(be.Uint32(b[104:])) * sector, cipher: cipher, sector: sector}
	c.data.size = size - c.data.off
	if c.data.off < header1 || c.data.size < sector || badKey(keySize) {
		return broken("its header makes no sense")
	}
	d := digest{kdf: kdf{kind: kdfPBKDF2, hash: hash, salt: b[132 : 132+salt1], iterations: int(be.Uint32(b[164:]))}, want: b[112 : 112+digest1]}
	for i := range slotCount1 {
		s := b[slots1+i*slot1:]
		if be.Uint32(s) != slotEnabled {
			continue
		}
		stripes := be.Uint32(s[44:])
		if stripes < 1 || stripes > maxStripes {
			return broken("key slot %d has %d stripes", i, stripes)
		}
		c.slots = append(c.slots, slot{
			name: strconv.Itoa(i), keySize: keySize, derived: keySize, cipher: cipher, digest: d, off: int64(be.Uint32(s[40:])) * sector,
			kdf: kdf{kind: kdfPBKDF2, hash: hash, salt: s[8 : 8+salt1], iterations: int(be.Uint32(s[4:]))},
			af:  antiForensic{stripes: int(stripes), hash: hash},
		})
	}
	return nil
}
