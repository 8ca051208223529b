package tinyimage

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// The disk has a DOS partition table: the boot partition, and one for records
// that takes the rest.
const (
	sector       = 512
	bootStartMiB = 1
	bootMiB      = 32

	// Signature marks the disk, at SignatureAt in its first sector.
	Signature   = "DWTG"
	SignatureAt = 440

	// RecordPartition is the number of the partition for records.
	RecordPartition = 2
)

// recordOffset is where the records' partition begins, in bytes. It reaches to
// the end of the image.
const recordOffset = (bootStartMiB + bootMiB) << 20

// Places in the first sector.
const (
	table     = 446
	tableSize = 16 // of an entry
	tableKind = 4  // in an entry
)

const (
	bootCodePath = "/usr/lib/syslinux/mbr/mbr.bin"
	typeFAT      = 0x0e // FAT16 with linear addresses
	typeData     = 0xda // no file system
	typeESP      = 0xef // what UEFI boots from
)

func writeDisk(path, boot string, c Config) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make tiny image: %w", err)
	}
	err = writeParts(f, boot, c)
	if err == nil {
		// A benchmark must not run while the kernel still writes this out.
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make tiny image: %w", err)
	}
	return nil
}

func writeParts(f *os.File, boot string, c Config) error {
	size := c.SizeMiB << 20
	if err := f.Truncate(size); err != nil {
		return err
	}
	first, err := bootSector(size)
	if err != nil {
		return err
	}
	if c.UEFI {
		first[table+tableKind] = typeESP
	}
	if _, err := f.WriteAt(first, 0); err != nil {
		return err
	}
	fat, err := os.ReadFile(boot)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(fat, bootStartMiB<<20); err != nil || !c.Filled {
		return err
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(f, recordOffset), 1<<20)
	if _, err := io.CopyN(w, noise(), size-recordOffset); err != nil {
		return err
	}
	return w.Flush()
}

// bootSector is the first sector: SYSLINUX's boot code, the signature and the
// partition table.
func bootSector(size int64) ([]byte, error) {
	code, err := os.ReadFile(bootCodePath)
	if err != nil {
		return nil, fmt.Errorf("boot code (Debian package syslinux-common): %w", err)
	}
	s := make([]byte, sector)
	copy(s[:SignatureAt], code)
	copy(s[SignatureAt:], Signature)
	partition(s[table:], 0x80, typeFAT, bootStartMiB<<20, bootMiB<<20)
	partition(s[table+tableSize:], 0, typeData, recordOffset, size-recordOffset)
	copy(s[sector-2:], "\x55\xaa")
	return s, nil
}

// partition writes an entry of the table; start and size are bytes. Cylinders
// and heads are left out, for nothing has read them since disks had more.
func partition(e []byte, status, kind byte, start, size int64) {
	beyond := []byte{0xfe, 0xff, 0xff}
	e[0], e[4] = status, kind
	copy(e[1:], beyond)
	copy(e[5:], beyond)
	binary.LittleEndian.PutUint32(e[8:], uint32(start/sector))
	binary.LittleEndian.PutUint32(e[12:], uint32(size/sector))
}

// Records finds the records' partition on a disk that was made from the image,
// and may have grown since: its offset and size in bytes.
func Records(disk io.ReaderAt) (offset, size int64, err error) {
	s := make([]byte, sector)
	if _, err := disk.ReadAt(s, 0); err != nil {
		return 0, 0, fmt.Errorf("read first sector: %w", err)
	}
	e := s[table+(RecordPartition-1)*tableSize:]
	if string(s[SignatureAt:][:len(Signature)]) != Signature || e[4] != typeData {
		return 0, 0, errors.New("not the disk of a tiny guest")
	}
	start, sectors := binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
	return int64(start) * sector, int64(sectors) * sector, nil
}

// noise is an endless stream that cannot be compressed, has no zero block, and
// is the same each time. AES in counter mode is faster than any disk.
func noise() io.Reader {
	block, err := aes.NewCipher([]byte("droveway lab img"))
	if err != nil {
		panic(err) // the key has 16 bytes
	}
	return cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: zeros{}}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
