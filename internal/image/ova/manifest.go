package ova

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// sum is a checksum that the manifest promises for a member.
type sum struct {
	algorithm, member string
	want              []byte
}

// line is a line of a manifest, from DMTF DSP0243, clause 5.1; OpenSSL 3 writes SHA2-256.
var line = regexp.MustCompile(`^(SHA1|SHA(?:2-)?256|SHA(?:2-)?512)\s*\((.+)\)\s*=\s*([0-9a-fA-F]+)$`)

func newHash(algorithm string) hash.Hash {
	switch strings.ReplaceAll(algorithm, "2-", "") {
	case "SHA1":
		return sha1.New()
	case "SHA256":
		return sha256.New()
	}
	return sha512.New()
}

// parseManifest reads the checksums of a manifest.
func parseManifest(text []byte) ([]sum, error) {
	var all []sum
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if l == "" {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			return nil, droveway.Errorf(droveway.Invalid, "ova: the manifest has the line %.80q, which is no checksum", l)
		}
		m[2] = path.Clean(m[2])
		if len(all) == maxMembers {
			return nil, droveway.Errorf(droveway.Invalid, "ova: the manifest has more than %d lines", maxMembers)
		}
		if slices.ContainsFunc(all, func(s sum) bool { return s.member == m[2] }) { // each would be read once more
			return nil, droveway.Errorf(droveway.Invalid, "ova: the manifest names %q twice", m[2])
		}
		want, err := hex.DecodeString(m[3])
		if err != nil || len(want) != newHash(m[1]).Size() {
			return nil, droveway.Errorf(droveway.Invalid, "ova: the manifest's %s of %q has the wrong length", m[1], m[2])
		}
		all = append(all, sum{m[1], m[2], want})
	}
	return all, nil
}

func (a *Archive) readManifest() error {
	_, text, err := a.text(".mf")
	if err != nil {
		return err
	}
	if a.manifest, err = parseManifest(text); err != nil {
		return err
	}
	for _, s := range a.manifest {
		if _, ok := a.Find(s.member); !ok {
			return droveway.Errorf(droveway.Invalid, "ova: the manifest names %q, which is not in the archive", s.member)
		}
	}
	return nil
}

// Manifest tells how many members the manifest vouches for; 0 if there is none.
func (a *Archive) Manifest() int { return len(a.manifest) }

// Verify reads every member that the manifest names, and compares. A checksum
// that differs is Invalid. progress, which may be nil, is told the bytes read.
func (a *Archive) Verify(ctx context.Context, progress func(done int64)) error {
	var before int64
	buf := make([]byte, verifyBuffer)
	for _, s := range a.manifest {
		m, _ := a.Find(s.member) // readManifest has seen it
		h := newHash(s.algorithm)
		for at := int64(0); at < m.Size; {
			if err := context.Cause(ctx); err != nil {
				return droveway.Errorf(droveway.Unavailable, "check %q: %w", m.Name, err)
			}
			p := buf[:min(verifyBuffer, m.Size-at)]
			if err := block.Full(a.r, p, m.Offset+at); err != nil {
				return droveway.Errorf(droveway.KindOf(err), "check %q: %w", m.Name, err)
			}
			h.Write(p)
			if at += int64(len(p)); progress != nil {
				progress(before + at)
			}
		}
		before += m.Size
		if got := h.Sum(nil); !bytes.Equal(got, s.want) {
			return droveway.Errorf(droveway.Invalid, "ova: %s of %q is %x, the manifest says %x: the archive is damaged, fetch it again", s.algorithm, m.Name, got, s.want)
		}
	}
	return nil
}

const verifyBuffer = 1 << 20
