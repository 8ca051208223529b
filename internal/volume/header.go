package volume

import (
	"encoding/binary"
	"strings"

	"github.com/droveway/droveway"
)

// MaxSize is the largest disk that is taken for a serious one, in bytes.
const MaxSize = 64 << 40

const sector = 512

// qcow2Header is what we need of the header of a qcow2 file, as in
// https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt.
// It is read here, not by a tool, because opening a file by its header already
// opens the files that the header names.
type qcow2Header struct {
	version      uint32
	backing      uint64 // offset of the backing file's name; 0: none
	clusterBits  uint32
	size         uint64 // bytes that a guest sees
	crypt        uint32
	incompatible uint64 // features that must be understood
}

const (
	qcow2Magic    = "QFI\xfb"
	qcow2HeaderV2 = 72
	qcow2HeaderV3 = 104
	minCluster    = 9
	maxCluster    = 21

	featureCorrupt  = 1 << 1
	featureExternal = 1 << 2
	featuresKnown   = 1<<5 - 1 // dirty, corrupt, external data, compression type, extended L2
)

// parseQCOW2 reads the header at the start of a file.
func parseQCOW2(b []byte) (qcow2Header, error) {
	if len(b) < qcow2HeaderV2 || string(b[:4]) != qcow2Magic {
		return qcow2Header{}, droveway.Errorf(droveway.Invalid, "the file is no qcow2 image or ends within its header")
	}
	be := binary.BigEndian
	h := qcow2Header{
		version:     be.Uint32(b[4:]),
		backing:     be.Uint64(b[8:]),
		clusterBits: be.Uint32(b[20:]),
		size:        be.Uint64(b[24:]),
		crypt:       be.Uint32(b[32:]),
	}
	if h.version < 3 {
		return h, nil
	}
	if len(b) < qcow2HeaderV3 {
		return qcow2Header{}, droveway.Errorf(droveway.Invalid, "the qcow2 image ends within its header: it is truncated")
	}
	h.incompatible = be.Uint64(b[72:])
	return h, nil
}

// check refuses everything that would reach beyond the file, or that we cannot
// keep.
func (h qcow2Header) check() error {
	switch {
	case h.version != 2 && h.version != 3:
		return droveway.Errorf(droveway.Invalid, "qcow2 version %d: only 2 and 3 are known", h.version)
	case h.backing != 0:
		return droveway.Errorf(droveway.Invalid, "the qcow2 image has a backing file: flatten it with qemu-img convert")
	case h.incompatible&featureExternal != 0:
		return droveway.Errorf(droveway.Invalid, "the qcow2 image keeps its data in an external file: bring it into one file with qemu-img convert")
	case h.incompatible&featureCorrupt != 0:
		return droveway.Errorf(droveway.Invalid, "the qcow2 image is marked corrupt: repair it with qemu-img check -r all")
	case h.incompatible&^featuresKnown != 0:
		return droveway.Errorf(droveway.Invalid, "the qcow2 image uses unknown features %#x: convert it with qemu-img convert -o compat=1.1", h.incompatible)
	case h.crypt != 0:
		return droveway.Errorf(droveway.Invalid, "the qcow2 image is encrypted: decrypt it with qemu-img convert")
	case h.clusterBits < minCluster || h.clusterBits > maxCluster:
		return droveway.Errorf(droveway.Invalid, "the qcow2 image has clusters of 2^%d bytes: its header is damaged", h.clusterBits)
	}
	return checkSize(h.size)
}

// checkSize checks the size of a disk as a guest sees it.
func checkSize(bytes uint64) error {
	switch {
	case bytes == 0:
		return droveway.Errorf(droveway.Invalid, "the disk has size 0")
	case bytes > MaxSize:
		return droveway.Errorf(droveway.Invalid, "the disk has %d bytes: at most %d (64 TiB)", bytes, int64(MaxSize))
	case bytes%sector != 0:
		return droveway.Errorf(droveway.Invalid, "the disk has %d bytes: a disk has whole sectors of %d bytes; the file may be truncated", bytes, sector)
	}
	return nil
}

// signature is a mark that some kind of content has at a fixed place.
type signature struct {
	name   string
	offset int
	mark   string
}

// foreign are the formats of disks that we know and do not take. Their files
// start so.
var foreign = []signature{
	{"VMDK", 0, "KDMV"},
	{"VMDK", 0, "COWD"},
	{"VMDK descriptor", 0, "# Disk DescriptorFile"},
	{"VHDX", 0, "vhdxfile"},
	{"VHD", 0, "conectix"},
	{"VDI", 64, "\x7f\x10\xda\xbe"},
	{"QED", 0, "QED\x00"},
	{"Parallels", 0, "WithoutFreeSpace"},
	{"Parallels", 0, "WithouFreSpacExt"},
	{"tar (OVA?)", 257, "ustar"},
}

// packed are what a disk may be wrapped in on its way. Their files start so.
var packed = []signature{
	{"gzip", 0, "\x1f\x8b"},
	{"xz", 0, "\xfd7zXZ\x00"},
	{"zstd", 0, "\x28\xb5\x2f\xfd"},
	{"bzip2", 0, "BZh"},
	{"lz4", 0, "\x04\x22\x4d\x18"},
	{"zip", 0, "PK\x03\x04"},
	{"7z", 0, "7z\xbc\xaf\x27\x1c"},
}

// contents are what the start of a raw disk may show.
var contents = []signature{
	{"MBR", 510, "\x55\xaa"},
	{"GPT", 512, "EFI PART"},
	{"GPT with 4 KiB sectors", 4096, "EFI PART"},
	{"LVM", 512, "LABELONE"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"MD", 0, "\xfc\x4e\x2b\xa9"},
	{"MD", 4096, "\xfc\x4e\x2b\xa9"},
	{"XFS", 0, "XFSB"},
	{"ext", 1080, "\x53\xef"},
	{"F2FS", 1024, "\x10\x20\xf5\xf2"},
	{"EROFS", 1024, "\xe2\xe1\xf5\xe0"},
	{"NTFS", 3, "NTFS    "},
	{"squashfs", 0, "hsqs"},
	{"swap", 4086, "SWAPSPACE2"},
	{"swap of a hibernated system", 4086, "S1SUSPEND"},
	{"ISO 9660", 0x8001, "CD001"},
	{"Btrfs", 0x10040, "_BHRfS_M"},
	{"UFS1", 0x255c, "\x54\x19\x01\x00"},
	{"UFS2", 0x1055c, "\x19\x01\x54\x19"},
}

// probeLen is how much of a file find has to see.
const probeLen = 0x10800

// find gives the first of the signatures that the start of a file shows.
func find(among []signature, start []byte) (string, bool) {
	for _, s := range among {
		if len(start) >= s.offset && strings.HasPrefix(string(start[s.offset:min(len(start), s.offset+len(s.mark))]), s.mark) {
			return s.name, true
		}
	}
	return "", false
}
