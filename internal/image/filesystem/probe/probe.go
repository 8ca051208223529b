// Package probe finds out what a volume holds, and opens it if there is a reader
// for it.
//
// It reads from the io.ReaderAt it is given and touches nothing else.
package probe

import (
	"bytes"
	"io"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/btrfs"
	"github.com/droveway/droveway/internal/image/filesystem/ext"
	"github.com/droveway/droveway/internal/image/filesystem/fat"
	"github.com/droveway/droveway/internal/image/filesystem/iso"
	"github.com/droveway/droveway/internal/image/filesystem/ntfs"
	"github.com/droveway/droveway/internal/image/filesystem/squashfs"
	"github.com/droveway/droveway/internal/image/filesystem/xfs"
)

// driver is a reader of filesystems.
type driver struct {
	is   func(io.ReaderAt) bool
	open func(io.ReaderAt) (filesystem.Volume, error)
}

func drivers() []driver {
	return []driver{
		{xfs.Is, xfs.Open},
		{btrfs.Is, btrfs.Open},
		{ext.Is, ext.Open},
		{ntfs.Is, ntfs.Open},
		{fat.Is, fat.Open},
		{squashfs.Is, squashfs.Open},
		{iso.Is, iso.Open},
	}
}

// What a volume holds that is no filesystem.
const (
	LVM       = "lvm2"
	MD        = "md"
	LUKS      = "luks"
	BitLocker = "bitlocker"
	Swap      = "swap"
	UFS       = "ufs"
	ZFS       = "zfs"
	Unknown   = "unknown"
)

// Found is what was found.
type Found struct {
	Kind      string
	UUID      string
	Label     string
	Hibernate bool              // swap holds the memory of a hibernated system
	Volume    filesystem.Volume // nil: no filesystem that can be read
	Err       error             // why it cannot
}

// Look tells what a volume of size bytes holds.
func Look(r io.ReaderAt, size int64) Found {
	if f, ok := container(r, size); ok {
		return f
	}
	for _, d := range drivers() {
		if !d.is(r) {
			continue
		}
		v, err := d.open(r)
		if err != nil {
			return Found{Kind: Unknown, Err: err}
		}
		i := v.Info()
		return Found{Kind: i.Kind, UUID: i.UUID, Label: i.Label, Volume: v}
	}
	return signature(r)
}

// container recognises what must be opened first. It goes before filesystems,
// whose traces may be left inside.
func container(r io.ReaderAt, size int64) (Found, bool) {
	b, err := block.Read(r, 0, int(min(size, 512)))
	if err != nil || len(b) < 512 {
		return Found{Kind: Unknown, Err: err}, true
	}
	// Before the rest, which may be what the array holds: its members may have their
	// superblocks at the end.
	if m, ok := disk.OpenMember("", r, size); ok {
		return Found{Kind: MD, UUID: m.Array, Label: m.Name}, true
	}
	switch {
	case bytes.HasPrefix(b, []byte("LUKS\xba\xbe")):
		return Found{Kind: LUKS + string('0'+b[7]%10), UUID: block.Text(b[168:208])}, true
	case bytes.HasPrefix(b[3:], []byte("-FVE-FS-")):
		return Found{Kind: BitLocker}, true
	case disk.IsPhysicalVolume(r):
		return Found{Kind: LVM}, true
	}
	return Found{}, false
}

const (
	page     = 4096
	swapMark = 10 // bytes before the end of the first page
	ufs1At   = 8192 + 1372
	ufs2At   = 65536 + 1372
)

func signature(r io.ReaderAt) Found {
	if b, err := block.Read(r, 0, page); err == nil {
		mark := string(b[page-swapMark:])
		switch {
		case mark == "SWAPSPACE2" || mark == "SWAP-SPACE":
			return Found{Kind: Swap, UUID: uuidText(b[1036:1052]), Label: block.Text(b[1052:1068])}
		case strings.HasPrefix(mark, "S1SUSPEND") || strings.HasPrefix(mark, "S2SUSPEND") || strings.HasPrefix(mark, "ULSUSPEND") || strings.HasPrefix(mark, "LINHIB"):
			return Found{Kind: Swap, Hibernate: true}
		}
	}
	for at, mark := range map[int64]string{ufs1At: "\x54\x19\x01\x00", ufs2At: "\x19\x01\x54\x19"} {
		if b, err := block.Read(r, at, 4); err == nil && string(b) == mark {
			return Found{Kind: UFS}
		}
	}
	if zfs(r) {
		return Found{Kind: ZFS}
	}
	return Found{Kind: Unknown}
}

// zfs looks for an uberblock in the first label.
func zfs(r io.ReaderAt) bool {
	b, err := block.Read(r, 128<<10, 128<<10)
	if err != nil {
		return false
	}
	for at := 0; at < len(b); at += 1024 {
		if string(b[at:at+8]) == "\x0c\xb1\xba\x00\x00\x00\x00\x00" {
			return true
		}
	}
	return false
}

func uuidText(b []byte) string {
	const hex = "0123456789abcdef"
	var s strings.Builder
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			s.WriteByte('-')
		}
		s.WriteByte(hex[c>>4])
		s.WriteByte(hex[c&15])
	}
	return s.String()
}
