package ova

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

const (
	tarMagicAt = 257
	tarBlock   = 512
	maxMembers = 1000
	maxHeaders = 4 << 20 // bytes of all headers, with what they say of long names
	maxText    = 4 << 20 // of an OVF or a manifest; real ones have kilobytes
)

// Is reports whether the first sector of a file is that of a tar archive.
func Is(head []byte) bool {
	return len(head) >= tarMagicAt+5 && string(head[tarMagicAt:tarMagicAt+5]) == "ustar"
}

// Member is a file of an archive.
type Member struct {
	Name   string
	Offset int64 // of its first byte in the archive
	Size   int64 // bytes
}

// Archive is the layout of an OVA.
type Archive struct {
	Members []Member
	Disks   []Disk // in the order of the OVF, else of the archive
	OVF     bool   // there is a description

	r        io.ReaderAt
	manifest []sum
}

// Read reads the layout of an archive of size bytes. What leads out of it, is
// damaged, or holds no disk is Invalid.
func Read(r io.ReaderAt, size int64) (*Archive, error) {
	a := &Archive{r: r}
	if err := a.list(size); err != nil {
		return nil, err
	}
	if err := a.readManifest(); err != nil {
		return nil, err
	}
	if err := a.findDisks(); err != nil {
		return nil, err
	}
	if len(a.Disks) > 0 {
		return a, nil
	}
	if a.OVF {
		return nil, droveway.Errorf(droveway.Invalid, "ova: no disk in it")
	}
	return nil, droveway.Errorf(droveway.Invalid, "a tar archive without OVF and disk: unpack it and give the image")
}

// headers reads so much of an archive and no more: members are skipped, and headers
// without end are never believed.
type headers struct {
	*io.SectionReader
	left int
}

func (h *headers) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, droveway.Errorf(droveway.Invalid, "more than %d bytes of headers", maxHeaders)
	}
	n, err := h.SectionReader.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

func (a *Archive) list(size int64) error {
	sr := &headers{block.Section(a.r, 0, size), maxHeaders}
	t := tar.NewReader(sr)
	for range maxMembers {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return droveway.Errorf(droveway.Invalid, "ova: %w: the archive is damaged or truncated", err)
		}
		if err := checkMember(h); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(path.Base(h.Name), "._") {
			continue // folders hold nothing, links are not followed, and "._NAME" is what a Mac remembers of NAME
		}
		h.Name = path.Clean(h.Name) // "./NAME", if a folder was packed
		at, err := sr.Seek(0, io.SeekCurrent)
		if err != nil {
			return droveway.Errorf(droveway.Internal, "ova: member %q: %w", h.Name, err)
		}
		if h.Size > size-at {
			return droveway.Errorf(droveway.Invalid, "ova: member %q ends after the archive: it is truncated", h.Name)
		}
		if slices.ContainsFunc(a.Members, func(m Member) bool { return m.Name == h.Name }) {
			return droveway.Errorf(droveway.Invalid, "ova: two members are called %q", h.Name)
		}
		a.Members = append(a.Members, Member{h.Name, at, h.Size})
	}
	return droveway.Errorf(droveway.Invalid, "ova: more than %d members", maxMembers)
}

func checkMember(h *tar.Header) error {
	if !plain(h.Name) {
		return droveway.Errorf(droveway.Invalid, "ova: a member is called %q: only plain names are allowed", h.Name)
	}
	sparse := h.Typeflag == tar.TypeGNUSparse
	for key := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, "GNU.sparse.")
	}
	if sparse {
		return droveway.Errorf(droveway.Invalid, "ova: member %q is kept as a sparse file: make the archive without that", h.Name)
	}
	return nil
}

func plain(name string) bool {
	return name != "" && !strings.HasPrefix(name, "/") && !strings.Contains(name, "..") && !strings.ContainsAny(name, "\\\x00")
}

// Find looks for a member by its name.
func (a *Archive) Find(name string) (Member, bool) {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return a.Members[i], true
}

// Open reads a member.
func (a *Archive) Open(m Member) *io.SectionReader { return block.Section(a.r, m.Offset, m.Size) }

// text reads the only member with an extension, whole.
func (a *Archive) text(ext string) (name string, b []byte, err error) {
	for _, m := range a.Members {
		if strings.ToLower(path.Ext(m.Name)) != ext {
			continue
		}
		if name != "" {
			return "", nil, droveway.Errorf(droveway.Invalid, "ova: %q and %q: there can be only one %s", name, m.Name, ext)
		}
		if m.Size > maxText {
			return "", nil, droveway.Errorf(droveway.Invalid, "ova: member %q has %d bytes: at most %d are believed", m.Name, m.Size, maxText)
		}
		name = m.Name
		if b, err = block.Read(a.r, m.Offset, int(m.Size)); err != nil {
			return "", nil, err
		}
	}
	return name, b, nil
}
