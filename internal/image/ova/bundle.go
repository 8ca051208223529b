package ova

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// Bundle is the files of one disk as a tar archive that is never written: its
// bytes are made while they are read. The same files give the same bytes. A single
// file is itself.
type Bundle struct {
	single bool
	parts  []part
	files  []*os.File
	size   int64
}

type part struct {
	end int64 // in the archive
	r   io.ReaderAt
}

// NewBundle opens the files; they must not change while it is read.
func NewBundle(paths []string) (*Bundle, error) {
	b := &Bundle{single: len(paths) == 1}
	for _, p := range paths {
		if err := b.add(p); err != nil {
			_ = b.Close()
			return nil, err
		}
	}
	if !b.single {
		b.append(zeros{}, 2*tarBlock)
	}
	return b, nil
}

func (b *Bundle) add(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "open a part of the disk: %w", err)
	}
	b.files = append(b.files, f)
	info, err := f.Stat()
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "look at a part of the disk: %w", err)
	}
	if b.single {
		b.append(f, info.Size())
		return nil
	}
	var head bytes.Buffer
	h := &tar.Header{Name: filepath.Base(path), Size: info.Size(), Mode: 0o600, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := tar.NewWriter(&head).WriteHeader(h); err != nil {
		return droveway.Errorf(droveway.Invalid, "%s cannot be part of a disk: %w", path, err)
	}
	b.append(bytes.NewReader(head.Bytes()), int64(head.Len()))
	b.append(f, info.Size())
	b.append(zeros{}, -info.Size()&(tarBlock-1))
	return nil
}

func (b *Bundle) append(r io.ReaderAt, size int64) {
	if size > 0 {
		b.size += size
		b.parts = append(b.parts, part{b.size, r})
	}
}

// Size is the length of the archive in bytes.
func (b *Bundle) Size() int64 { return b.size }

// ReadAt reads the archive.
func (b *Bundle) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	var start int64
	for _, k := range b.parts {
		at := off + int64(n)
		if at < k.end && n < len(p) {
			piece := p[n:min(int64(len(p)), int64(n)+k.end-at)]
			if err := block.Full(k.r, piece, at-start); err != nil {
				return n, err
			}
			n += len(piece)
		}
		start = k.end
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close closes the files.
func (b *Bundle) Close() error {
	var first error
	for _, f := range b.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// zeros is padding.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
