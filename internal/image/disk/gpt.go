package disk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/droveway/droveway/internal/image/block"
)

const (
	gptHeader   = 92
	gptMinEntry = 128
	gptMaxEntry = 4096
	gptName     = 72
	maxOnDisk   = 1 << 46 // sectors: keeps products below 2^63
)

// readGPT tries the table in front and the one at the end, for sectors of 512
// and 4096 bytes. Numbers are from the UEFI specification, chapter 5.
func (t *Table) readGPT(r io.ReaderAt, size int64) (bool, error) {
	for _, lba := range []int64{sector, 4096} {
		for _, at := range []int64{lba, size/lba*lba - lba} {
			if t.gptAt(r, at, lba, size) {
				if at != lba {
					t.note("the partition table in front is damaged, the copy at the end is used")
				}
				return true, nil
			}
		}
	}
	t.note("a protective MBR without a valid GPT: the image is damaged or truncated")
	return false, nil
}

func (t *Table) gptAt(r io.ReaderAt, at, lba, size int64) bool {
	b, err := block.Read(r, at, sector)
	if err != nil || string(b[:8]) != "EFI PART" {
		return false
	}
	le := binary.LittleEndian
	length, sum := le.Uint32(b[12:]), le.Uint32(b[16:])
	if length < gptHeader || length > sector {
		return false
	}
	clear(b[16:20])
	if crc32.ChecksumIEEE(b[:length]) != sum {
		return false
	}
	count, entry := le.Uint32(b[80:]), le.Uint32(b[84:])
	if le.Uint64(b[72:]) > maxOnDisk || entry < gptMinEntry || entry > gptMaxEntry || count > 1024 {
		return false
	}
	all, err := block.Read(r, int64(le.Uint64(b[72:]))*lba, int(count*entry))
	if err != nil || crc32.ChecksumIEEE(all) != le.Uint32(b[88:]) {
		return false
	}
	t.Kind, t.ID = "gpt", guid(b[56:])
	for i := range int(count) {
		t.gptEntry(all[i*int(entry):], i+1, lba, size)
	}
	return true
}

func (t *Table) gptEntry(e []byte, number int, lba, size int64) {
	le := binary.LittleEndian
	first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
	if bytes.Equal(e[:16], make([]byte, 16)) {
		return
	}
	if first > maxOnDisk || last > maxOnDisk || last < first {
		t.note("partition %d lies outside the disk: it is left out", number)
		return
	}
	t.add(Part{
		Number: number, Start: int64(first) * lba, Size: int64(last-first+1) * lba, Type: guid(e), UUID: guid(e[16:]),
		Name: utf16Text(e[56 : 56+gptName]), Boot: le.Uint64(e[48:])&4 != 0,
	}, size)
}

func utf16Text(b []byte) string {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}
