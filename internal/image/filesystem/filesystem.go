package filesystem

import (
	"io"
	"io/fs"

	"github.com/droveway/droveway"
)

// Volume is an open filesystem.
type Volume interface {
	Info() Info
	Root() (Node, error)
}

// Info is what a filesystem says of itself.
type Info struct {
	Kind  string `json:"kind"` // "ext4", "xfs", …
	Label string `json:"label,omitempty"`
	UUID  string `json:"uuid,omitempty"` // as UUID= in fstab
	Size  int64  `json:"size"`           // bytes
	Free  int64  `json:"free"`           // bytes; -1: unknown
	Dirty string `json:"dirty,omitempty"`
	// FoldCase says that names differ from one another in more than case.
	FoldCase bool `json:"-"`
}

// Subvolumes is a Volume that holds several trees.
type Subvolumes interface {
	// Subvolume opens a tree by its path from the top, or by its number as
	// "#256"; "" is the one that a plain mount shows.
	Subvolume(name string) (Node, error)
}

// Node is a file, a directory or a symbolic link. ReadAt gives a file's content,
// and a link's target.
type Node interface {
	io.ReaderAt
	Stat() Stat
	// List calls fn for each entry of a directory until it gives an error,
	// and returns that.
	List(fn func(Entry) error) error
}

// Stat is what is known of a node.
type Stat struct {
	Mode fs.FileMode // type and permission
	Size int64       // bytes
	ID   uint64      // the same for the same node of a filesystem
}

// IsDir reports whether it is a directory.
func (s Stat) IsDir() bool { return s.Mode.IsDir() }

// IsLink reports whether it is a symbolic link.
func (s Stat) IsLink() bool { return s.Mode&fs.ModeSymlink != 0 }

// Entry is a name in a directory.
type Entry struct {
	Name string
	Open func() (Node, error)
}

// MaxEntries is how much of a directory is looked at.
const MaxEntries = 100_000

// Broken makes the error for a filesystem that contradicts itself.
func Broken(format string, args ...any) error {
	return droveway.Errorf(droveway.Invalid, format+": the filesystem is damaged", args...)
}

// UnixMode turns st_mode into a mode of Go.
func UnixMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & 0xf000 {
	case 0x4000:
		mode |= fs.ModeDir
	case 0xa000:
		mode |= fs.ModeSymlink
	case 0x2000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case 0x6000:
		mode |= fs.ModeDevice
	case 0x1000:
		mode |= fs.ModeNamedPipe
	case 0xc000:
		mode |= fs.ModeSocket
	}
	return mode
}
