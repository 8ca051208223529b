package format

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// descriptor is the text of a VMDK that says of which extents it is made.
type descriptor struct {
	variant string
	extents []extent
}

type extent struct {
	sectors int64
	kind    string // FLAT, SPARSE, ZERO, VMFS
	file    string
	offset  int64 // sectors into a flat file
}

// maxExtents is far beyond the 2 GiB pieces of the largest disk VMware splits.
const maxExtents = 4096

var (
	descriptorMark = []byte("# Disk DescriptorFile")
	extentLine     = regexp.MustCompile(`^(?:RW|RDONLY|NOACCESS)\s+(\d{1,15})\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+(\d{1,15}))?)?`)
)

func isDescriptor(head []byte) bool { return bytes.HasPrefix(head, descriptorMark) }

func parseDescriptor(text []byte) (descriptor, error) {
	d := descriptor{variant: "unknown"}
	for line := range strings.Lines(block.Text(text)) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.TrimSpace(key) {
		case "createType":
			d.variant = value
		case "parentCID":
			if !strings.EqualFold(value, "ffffffff") {
				return d, droveway.Errorf(droveway.Invalid, "vmdk: it is a snapshot on another disk: consolidate the snapshots and export again")
			}
		default:
			if err := d.extentOf(line); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

func (d *descriptor) extentOf(line string) error {
	m := extentLine.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	if len(d.extents) == maxExtents {
		return droveway.Errorf(droveway.Invalid, "vmdk: more than %d extents", maxExtents)
	}
	sectors, _ := strconv.ParseInt(m[1], 10, 64)
	offset, _ := strconv.ParseInt("0"+m[4], 10, 64)
	if sectors > MaxSize/sector || offset > MaxSize/sector {
		return droveway.Errorf(droveway.Invalid, "vmdk: an extent of %d sectors from %d: the image is damaged", sectors, offset)
	}
	d.extents = append(d.extents, extent{sectors: sectors, kind: m[2], file: m[3], offset: offset})
	return nil
}

func openDescriptorFile(f *block.Cached, near neighbours) (*Image, error) {
	text, err := block.Read(f, 0, int(min(f.Size(), vmdkDescriptor)))
	if err != nil {
		return nil, err
	}
	d, err := parseDescriptor(text)
	if err != nil {
		return nil, err
	}
	return d.open(near)
}

func (d *descriptor) open(near neighbours) (*Image, error) {
	i := &Image{Kind: VMDK, Variant: d.variant}
	c := &chain{}
	for _, e := range d.extents {
		if e.file != "" && !slices.Contains(i.Parts, e.file) {
			i.Parts = append(i.Parts, e.file)
		}
		r, closer, err := e.open(near)
		if closer != nil {
			i.close = append(i.close, closer)
		}
		if err != nil {
			_ = i.Close()
			return nil, err
		}
		c.add(r, e.sectors*sector)
	}
	i.Size, i.disk = c.size(), c
	return i, nil
}

func (e *extent) open(near neighbours) (io.ReaderAt, io.Closer, error) {
	if e.kind == "ZERO" {
		return zeros{}, nil, nil
	}
	f, size, closer, err := near.open(e.file)
	if err != nil {
		return nil, nil, err
	}
	switch e.kind {
	case "FLAT", "VMFS":
		if (e.offset+e.sectors)*sector > size {
			return nil, closer, droveway.Errorf(droveway.Invalid, "vmdk: extent %q has %d bytes, %d are needed: it is truncated", e.file, size, (e.offset+e.sectors)*sector)
		}
		return block.Section(f, e.offset*sector, e.sectors*sector), closer, nil
	case "SPARSE":
		s, _, err := openSparse(block.Cache(f, size))
		if err == nil && s.size < e.sectors*sector {
			err = droveway.Errorf(droveway.Invalid, "vmdk: extent %q has %d bytes, %d are needed", e.file, s.size, e.sectors*sector)
		}
		return s, closer, err
	}
	return nil, closer, droveway.Missing("vmdk-extent", "vmdk: an extent of type %s cannot be read", e.kind)
}

// folder opens regular files of one folder by their plain names.
type folder struct{ dir string }

func (d folder) open(name string) (io.ReaderAt, int64, io.Closer, error) {
	if name == "" || strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: extent %q: only a plain file name beside the descriptor is allowed", name)
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: extent %q: %w", name, err)
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if err != nil {
		return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: extent %q: %w: keep all files of the disk in one folder", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: extent %q is not a regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: extent %q: %w", name, err)
	}
	return f, info.Size(), f, nil
}

// nowhere has no files.
type nowhere struct{}

func (nowhere) open(name string) (io.ReaderAt, int64, io.Closer, error) {
	return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: its extent %q is another file: open the descriptor from its folder", name)
}
