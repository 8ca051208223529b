package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

const sector = 512

// maxParts is the most partitions that are looked at.
const maxParts = 256

// Table is what a disk says of its partitions.
type Table struct {
	Kind     string   `json:"kind"`                // "gpt", "mbr" or "none"
	BootCode string   `json:"boot_code,omitempty"` // "grub", "syslinux", "windows", "none", …
	ID       string   `json:"id,omitempty"`        // of the disk
	Parts    []Part   `json:"parts,omitempty"`
	Notes    []string `json:"notes,omitempty"` // what was damaged or left out
}

// Part is a partition.
type Part struct {
	Number int    `json:"number"`
	Start  int64  `json:"start"` // bytes
	Size   int64  `json:"size"`  // bytes
	Type   string `json:"type"`  // GUID in lower case, or two hexadecimal digits
	Name   string `json:"name,omitempty"`
	UUID   string `json:"uuid,omitempty"` // as PARTUUID= in fstab
	Boot   bool   `json:"boot,omitempty"`
}

// The types of partitions that mean something to us.
const (
	TypeESP      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	TypeBIOSBoot = "21686148-6449-6e6f-744e-656564454649"
	typeESPOnMBR = "ef"
)

// ESP reports whether the partition is one that UEFI firmware boots from.
func (p *Part) ESP() bool { return p.Type == TypeESP || p.Type == typeESPOnMBR }

// ReadTable reads the partition table of a disk of size bytes. A disk without
// one has Kind none. Partitions that make no sense are left out with a note.
func ReadTable(r io.ReaderAt, size int64) (Table, error) {
	if size < 2*sector {
		return Table{Kind: "none"}, nil
	}
	b, err := block.Read(r, 0, sector)
	if err != nil {
		return Table{}, err
	}
	t := Table{Kind: "none", BootCode: bootCode(b)}
	if b[510] != 0x55 || b[511] != 0xaa {
		return t, nil
	}
	t.Kind = "mbr"
	if protective(b) {
		ok, err := t.readGPT(r, size)
		if ok || err != nil {
			return t, err
		}
	}
	t.ID = fmt.Sprintf("%08x", binary.LittleEndian.Uint32(b[440:]))
	if !t.readMBR(r, b, size) {
		return Table{Kind: "none", BootCode: t.BootCode}, nil
	}
	return t, nil
}

// bootCode tells boot loaders apart by what stands in their first sector.
func bootCode(b []byte) string {
	for _, m := range []struct{ mark, name string }{
		{"GRUB", "grub"},
		{"LILO", "lilo"},
		{"isolinux", "syslinux"},
		{"SYSLINUX", "syslinux"},
		{"Missing operating system.", "syslinux"},
		{"BOOTMGR", "windows"},
		{"Error loading operating system", "windows"},
		{"Invalid partition table", "windows"},
		{"Boot error", "freebsd"},
		{"BTX", "freebsd"},
	} {
		if bytes.Contains(b[:440], []byte(m.mark)) {
			return m.name
		}
	}
	if bytes.Equal(b[:440], make([]byte, 440)) {
		return "none"
	}
	return "unknown"
}

// add takes a partition that lies on the disk.
func (t *Table) add(p Part, size int64) {
	switch {
	case len(t.Parts) >= maxParts:
		t.note("more than %d partitions: the rest is left out", maxParts)
		return
	case p.Start < 0 || p.Size <= 0 || p.Start >= size:
		t.note("partition %d lies outside the disk: it is left out", p.Number)
		return
	case p.Size > size-p.Start:
		t.note("partition %d ends after the disk: the image is truncated", p.Number)
		p.Size = size - p.Start
	}
	t.Parts = append(t.Parts, p)
}

func (t *Table) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); len(t.Notes) < maxParts {
		t.Notes = append(t.Notes, s)
	}
}

// guid writes a GUID as it lies on a disk, its first three fields little-endian.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func invalid(format string, args ...any) error {
	return droveway.Errorf(droveway.Invalid, format, args...)
}
