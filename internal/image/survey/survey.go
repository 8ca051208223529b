package survey

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/ova"
	"github.com/droveway/droveway/internal/volume"
)

// Source is an open source.
type Source struct {
	Format string // of the file: "raw", "vmdk", "ova", "tar", …
	Bytes  int64  // of the file
	Disks  []Disk // at least one
	Notes  []string
	Parts  []string // paths of the further files it has, beside the one given

	path    string
	archive *ova.Archive
	single  *format.Image
	close   []io.Closer
}

// Disk is a disk of a source.
type Disk struct {
	Member  string          // in an archive; empty: the source is the disk
	Machine string          // that has it, if the source says so
	From    string          // format and variant
	Size    int64           // bytes a guest sees
	Kept    droveway.Format // the file is kept as it is; empty: it is converted

	at ova.Disk
}

// Open opens the source in a file, and in the files beside it that it names. What
// an import would refuse is refused with its reason.
func Open(path string) (*Source, error) {
	return openFile(path, func(io.ReaderAt, int64) (*format.Image, error) { return format.Open(path) })
}

// OpenAlone opens the source in a file, which has no files beside it that are its.
func OpenAlone(path string) (*Source, error) { return openFile(path, format.New) }

func openFile(path string, open opener) (*Source, error) {
	f, size, err := format.OpenFile(path)
	if err != nil {
		return nil, err
	}
	s, err := read(f, size, open)
	if err != nil {
		_ = f.Close()
		return nil, droveway.Errorf(droveway.KindOf(err), "image %s: %w", path, err)
	}
	for i, name := range s.Parts {
		s.Parts[i] = filepath.Join(filepath.Dir(path), name)
	}
	s.path = path
	s.close = append(s.close, f)
	return s, nil
}

// Bytes are what is sent of a source.
type Bytes interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Whole gives the bytes of the source in one piece: its file or, if it has several,
// an archive of them, which is made while it is read.
func (s *Source) Whole() (Bytes, error) {
	return ova.NewBundle(append([]string{s.path}, s.Parts...))
}

// minSize is the least that format reads, in bytes: a sector.
const minSize = 512

// New reads a source of size bytes that has no files beside it.
func New(r io.ReaderAt, size int64) (*Source, error) {
	return read(r, size, format.New)
}

// opener opens an image that is no archive.
type opener func(r io.ReaderAt, size int64) (*format.Image, error)

func read(r io.ReaderAt, size int64, open opener) (*Source, error) {
	if size == 0 {
		return nil, droveway.Errorf(droveway.Invalid, "the file is empty: give a disk image")
	}
	start := make([]byte, min(volume.ProbeLen, size))
	if err := block.Full(r, start, 0); err != nil {
		return nil, err
	}
	s := &Source{Bytes: size}
	if ova.Is(start) {
		return s, s.readArchive(block.Cache(r, size))
	}
	if _, err := volume.Recognise(start); size < minSize && err != nil {
		return nil, err // it says more than that the file is small
	}
	i, err := open(r, size)
	if err != nil {
		return nil, err
	}
	s.single, s.close, s.Format, s.Parts = i, []io.Closer{i}, string(i.Kind), i.Parts
	d, err := describe(i)
	if err != nil {
		_ = i.Close()
		return nil, err
	}
	if i.Kind == format.Raw && i.Size%minSize != 0 { // it would be kept as it is
		_ = i.Close()
		return nil, droveway.Errorf(droveway.Invalid, "the disk has %d bytes: a disk has whole sectors of %d bytes; the file may be truncated", i.Size, minSize)
	}
	if i.Kind == format.Raw || i.Kind == format.QCOW2 {
		d.Kept = droveway.Format(i.Kind)
	}
	s.Disks = []Disk{d}
	return s, nil
}

// IsDisk refuses what is no disk. A raw one must show some content: anything at all
// would pass for a raw disk.
func IsDisk(i *format.Image) error {
	if i.Kind != format.Raw {
		return nil
	}
	start := make([]byte, min(volume.ProbeLen, i.Size))
	if err := block.Full(i, start, 0); err != nil {
		return err
	}
	_, err := volume.Recognise(start)
	return err
}

// describe tells what a disk is.
func describe(i *format.Image) (Disk, error) {
	if err := IsDisk(i); err != nil {
		return Disk{}, err
	}
	return Disk{Member: i.Inside, From: strings.TrimSpace(string(i.Kind) + " " + i.Variant), Size: i.Size}, nil
}

func (s *Source) readArchive(r *block.Cached) error {
	a, err := ova.Read(r, r.Size())
	if err != nil {
		return err
	}
	if err := format.WholeDisks(a); err != nil {
		return err
	}
	s.archive, s.Format = a, "tar"
	if a.OVF {
		s.Format = "ova"
	}
	for _, k := range a.Disks {
		i, err := format.OpenDisk(a, k)
		if err != nil {
			return err
		}
		d, err := describe(i)
		_ = i.Close()
		if err != nil {
			return droveway.Errorf(droveway.KindOf(err), "ova: member %q: %w", k.Name, err)
		}
		d.at, d.Machine = k, k.Machine
		s.Disks = append(s.Disks, d)
		if k.Capacity != 0 && k.Capacity != d.Size {
			s.Notes = append(s.Notes, fmt.Sprintf("disk %s has %d bytes, the OVF says %d: what the disk says counts", k.Name, d.Size, k.Capacity))
		}
	}
	if text := machinesText(s.Disks); text != "" {
		s.Notes = append(s.Notes, text+": --disk MACHINE takes the disks of one")
	}
	s.Notes = append(s.Notes, manifestNote(a))
	return nil
}

func manifestNote(a *ova.Archive) string {
	if n := a.Manifest(); n > 0 {
		return fmt.Sprintf("the manifest vouches for %d of %d members", n, len(a.Members))
	}
	return "the archive has no manifest: its parts cannot be checked one by one"
}

// Verify compares an archive with its manifest; it does nothing without one.
func (s *Source) Verify(ctx context.Context, progress func(done int64)) error {
	if s.archive == nil {
		return nil
	}
	return s.archive.Verify(ctx, progress)
}

// Read opens a disk of the source. It ends with the source and is not closed.
func (s *Source) Read(d Disk) (*format.Image, error) {
	if s.archive != nil {
		return format.OpenDisk(s.archive, d.at)
	}
	return s.single, nil
}

// Close closes the files.
func (s *Source) Close() error {
	var first error
	for _, c := range s.close {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
