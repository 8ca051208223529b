package format

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

const (
	tarMagicAt = 257
	maxMembers = 1000
)

func isTar(head []byte) bool { return string(head[tarMagicAt:tarMagicAt+5]) == "ustar" }

// openOVA reads the first disk of an OVA, where it lies in the archive.
func openOVA(f *block.Cached) (*Image, error) {
	sr := block.Section(f, 0, f.Size())
	t := tar.NewReader(sr)
	ovf := false
	for range maxMembers {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "ova: %w: the archive is damaged", err)
		}
		if !plain(h.Name) {
			return nil, droveway.Errorf(droveway.Invalid, "ova: a member is called %q: only plain names are allowed", h.Name)
		}
		ovf = ovf || path.Ext(h.Name) == ".ovf"
		if !isDisk(h) {
			continue
		}
		at, err := sr.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		return openMember(f, h, at)
	}
	if ovf {
		return nil, droveway.Errorf(droveway.Invalid, "ova: no disk in it")
	}
	return nil, droveway.Errorf(droveway.Invalid, "a tar archive without OVF and disk: unpack it and give the image")
}

func plain(name string) bool {
	return name != "" && !strings.HasPrefix(name, "/") && !strings.Contains(name, "..") && !strings.Contains(name, `\`)
}

func isDisk(h *tar.Header) bool {
	switch strings.ToLower(path.Ext(h.Name)) {
	case ".vmdk", ".vhd", ".vhdx", ".qcow2", ".img", ".raw":
		return h.Typeflag == tar.TypeReg
	}
	return false
}

func openMember(f *block.Cached, h *tar.Header, at int64) (*Image, error) {
	if at+h.Size > f.Size() {
		return nil, droveway.Errorf(droveway.Invalid, "ova: member %q ends after the archive: it is truncated", h.Name)
	}
	part := block.Section(f, at, h.Size)
	head := make([]byte, sector)
	if _, err := part.ReadAt(head, 0); err != nil || isTar(head) {
		return nil, droveway.Errorf(droveway.Invalid, "ova: member %q is not a disk", h.Name)
	}
	i, err := New(part, h.Size)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "ova: member %q: %w", h.Name, err)
	}
	i.Inside = h.Name
	return i, nil
}
