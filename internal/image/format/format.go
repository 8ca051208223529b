package format

import (
	"bytes"
	"io"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/ova"
)

// Kind is a format of disk images.
type Kind string

// The formats.
const (
	Raw   Kind = "raw"
	QCOW2 Kind = "qcow2"
	VMDK  Kind = "vmdk"
	VHD   Kind = "vhd"
	VHDX  Kind = "vhdx"
)

// MaxSize is the largest virtual size that is believed, in bytes: 64 TiB, as
// for the disks of a machine.
const MaxSize = 64 << 40

// sector is the unit of several formats, in bytes.
const sector = 512

// Image is an open image. ReadAt gives the bytes that a guest would see; it is
// safe for concurrent use.
type Image struct {
	Kind    Kind
	Variant string   // "dynamic", "streamOptimized", …
	Inside  string   // the member of an OVA that is read, or empty
	Size    int64    // bytes a guest sees
	Parts   []string // names of the further files it has, beside the one given

	disk  io.ReaderAt
	close []io.Closer
}

// ReadAt reads what a guest would see.
func (i *Image) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, i.Size)
	if done {
		return 0, io.EOF
	}
	n, err := i.disk.ReadAt(q, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Close closes the files.
func (i *Image) Close() error {
	var first error
	for _, c := range i.close {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Open opens the image in a file. What is not an image that can be read alone
// is Invalid, a feature we lack is Unsupported.
func Open(path string) (*Image, error) {
	f, size, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	i, err := open(f, size, folder{filepath.Dir(path)})
	if err != nil {
		_ = f.Close()
		return nil, droveway.Errorf(droveway.KindOf(err), "image %s: %w", path, err)
	}
	i.close = append(i.close, f)
	return i, nil
}

// New reads an image of size bytes from r; it has no neighbours, so a VMDK in
// several files is refused.
func New(r io.ReaderAt, size int64) (*Image, error) { return open(r, size, nowhere{}) }

// neighbours opens the extents of a VMDK.
type neighbours interface {
	open(name string) (f io.ReaderAt, size int64, c io.Closer, err error)
}

func open(r io.ReaderAt, size int64, near neighbours) (*Image, error) {
	if size < sector {
		return nil, droveway.Errorf(droveway.Invalid, "%d bytes: too small for a disk image", size)
	}
	f := block.Cache(r, size)
	head, err := block.Read(f, 0, sector)
	if err != nil {
		return nil, err
	}
	i, err := openKind(f, head, near)
	if err != nil {
		return nil, err
	}
	if i.Size <= 0 || i.Size > MaxSize {
		_ = i.Close()
		return nil, droveway.Errorf(droveway.Invalid, "%s: a virtual size of %d bytes: a disk has 1 to %d", i.Kind, i.Size, int64(MaxSize))
	}
	return i, nil
}

func openKind(f *block.Cached, head []byte, near neighbours) (*Image, error) {
	switch {
	case bytes.HasPrefix(head, []byte("QFI\xfb")):
		return openQCOW2(f)
	case bytes.HasPrefix(head, []byte("KDMV")):
		return openVMDK(f, near)
	case bytes.HasPrefix(head, []byte("COWD")):
		return nil, droveway.Missing("vmdk-cowd", "a sparse disk of an ESXi snapshot: export the machine as OVA, or convert the disk with vmkfstools")
	case isDescriptor(head):
		return openDescriptorFile(f, near)
	case bytes.HasPrefix(head, []byte("vhdxfile")):
		return openVHDX(f)
	case ova.Is(head):
		return openOVA(f)
	}
	if foot, ok := vhdFooter(f); ok {
		return openVHD(f, foot)
	}
	return &Image{Kind: Raw, Size: f.Size(), disk: f}, nil
}
