// Package initramfs reads what an initramfs contains: cpio archives in a row,
// each as it is or compressed with gzip, zstd, xz, lz4, lzma or bzip2. It also writes
// one, and reads what the kernel modules in it need of each other.
//
// It reads from the io.Reader and writes to the io.Writer that it is given, and touches
// nothing else. What it decompresses is bounded; nothing is kept but names.
package initramfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
	"github.com/xi2/xz"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/inflate"
)

// Limits of one initramfs.
const (
	maxUnpacked = 1 << 30 // bytes
	maxFiles    = 200_000
	maxArchives = 16
	maxWindow   = 32 << 20 // of zstd; its levels 1 to 19 use 8 MiB at most
	maxDict     = 32 << 20 // of xz and lzma; its levels 1 to 8 use no more
	lzmaHead    = 5
)

// Summary is what was found.
type Summary struct {
	Kind        string          // "initramfs-tools", "dracut", "mkinitcpio", …, or empty
	Compression []string        // of each archive, "" for none
	Modules     map[string]bool // kernel modules, as "virtio_blk"
	Most        bool            // initramfs-tools made it for any machine: MODULES=most
	Files       int
}

var errEnough = errors.New("enough")

// Read goes through an initramfs to its end, or, once it knows its kind, until what it
// has met is enough.
func Read(r io.Reader, enough func(*Summary) bool) (Summary, error) {
	s := &scan{enough: enough, Summary: Summary{Modules: map[string]bool{}}, left: maxUnpacked}
	err := s.archives(bufio.NewReaderSize(r, 64<<10))
	if errors.Is(err, errEnough) {
		err = nil
	}
	return s.Summary, err
}

type scan struct {
	Summary
	enough func(*Summary) bool
	left   int64 // bytes that may still be unpacked

	conf     settings
	name     string // of the file before, in this archive
	shuffled bool   // the files do not come in the order of their names, or modules before the settings
}

func (s *scan) archives(r *bufio.Reader) error {
	for range maxArchives {
		head, err := skipZeros(r)
		if len(head) == 0 {
			return err
		}
		if bytes.HasPrefix(head, []byte("07070")) {
			s.Compression = append(s.Compression, "")
			if err := s.cpio(r); err != nil {
				return err
			}
			continue
		}
		name, unpacked, err := unpack(r, head)
		if err != nil {
			return droveway.Errorf(droveway.Invalid, "initramfs: %w", err)
		}
		s.Compression = append(s.Compression, name)
		if err := s.inside(unpacked); err != nil {
			return err
		}
		if name != "gzip" && name != "zstd" {
			// The others read ahead: what follows them cannot be found.
			return nil
		}
	}
	return nil
}

// inside reads all cpio archives of a compressed part.
func (s *scan) inside(unpacked io.ReadCloser) error {
	defer unpacked.Close()
	r := bufio.NewReaderSize(unpacked, 64<<10)
	for {
		head, err := skipZeros(r)
		if err != nil {
			return truncated(err)
		}
		if len(head) == 0 {
			return nil
		}
		if err := s.cpio(r); err != nil {
			return err
		}
	}
}

const headBytes = lzmaHead + 1

// skipZeros passes over the padding between archives.
func skipZeros(r *bufio.Reader) ([]byte, error) {
	for {
		b, err := r.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return nil, err
		}
		if b[0] != 0 {
			head, err := r.Peek(headBytes)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return head, err
		}
		if _, err := r.Discard(1); err != nil {
			return nil, err
		}
	}
}

func unpack(r *bufio.Reader, head []byte) (string, io.ReadCloser, error) {
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case has("\x1f\x8b"):
		z, err := inflate.NewGzip(r)
		return "gzip", io.NopCloser(z), err
	case has("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(&frames{r: r}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return "zstd", nil, err
		}
		return "zstd", z.IOReadCloser(), nil
	case has("\xfd7zXZ\x00"):
		z, err := xz.NewReader(r, maxDict)
		return "xz", io.NopCloser(z), err
	case has("\x02\x21\x4c\x18"), has("\x04\x22\x4d\x18"):
		return "lz4", io.NopCloser(lz4.NewReader(r)), nil
	case has("BZh"):
		return "bzip2", io.NopCloser(bzip2.NewReader(r)), nil
	case has("\x5d\x00\x00"):
		if len(head) < lzmaHead || binary.LittleEndian.Uint32(head[1:]) > maxDict {
			return "lzma", nil, droveway.Errorf(droveway.Invalid, "lzma with a dictionary of more than %d bytes", maxDict)
		}
		z, err := lzma.NewReader(r)
		return "lzma", io.NopCloser(z), err
	}
	return "", nil, droveway.Errorf(droveway.Invalid, "neither cpio nor a known compression at % x", head)
}

const (
	cpioHeader  = 110
	cpioSize    = 54 // of the file's size, eight hexadecimal digits
	cpioName    = 94
	maxName     = 4096
	cpioTrailer = "TRAILER!!!"
)

// cpio reads one archive in the "newc" format, names only.
func (s *scan) cpio(r *bufio.Reader) error {
	h := make([]byte, cpioHeader)
	s.name = ""
	for {
		if _, err := io.ReadFull(r, h); err != nil {
			return truncated(err)
		}
		size, ok1 := hex(h[cpioSize:])
		length, ok2 := hex(h[cpioName:])
		if string(h[:5]) != "07070" || !ok1 || !ok2 || length == 0 || length > maxName {
			return droveway.Errorf(droveway.Invalid, "initramfs: a cpio header makes no sense")
		}
		name := make([]byte, pad(cpioHeader+length)-cpioHeader)
		if _, err := io.ReadFull(r, name); err != nil {
			return truncated(err)
		}
		text := string(name[:length-1])
		if text == cpioTrailer {
			return nil
		}
		text = strings.TrimPrefix(strings.TrimPrefix(text, "./"), "/")
		if err := s.take(text, cpioHeader+length+size); err != nil {
			return err
		}
		if isSetting(text) && size <= maxSettings {
			b := make([]byte, pad(size))
			if _, err := io.ReadFull(r, b); err != nil {
				return truncated(err)
			}
			s.conf.read(text, string(b[:size]))
			continue
		}
		if _, err := r.Discard(int(pad(size))); err != nil {
			return truncated(err)
		}
	}
}

func pad(n int64) int64 { return (n + 3) &^ 3 }

func hex(b []byte) (int64, bool) {
	var n int64
	for _, c := range b[:8] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int64(c-'A'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

func truncated(err error) error {
	return droveway.Errorf(droveway.Invalid, "initramfs: it ends too early: %w", err)
}

func (s *scan) take(name string, bytes int64) error {
	s.Files++
	if s.left -= bytes; s.left < 0 || s.Files > maxFiles {
		return droveway.Errorf(droveway.Invalid, "initramfs: more than %d files or %d bytes: it is damaged or hostile", maxFiles, maxUnpacked)
	}
	m, isModule := ModuleName(name)
	if isModule {
		s.Modules[m] = true
	}
	if s.Kind == "" {
		s.Kind = kindOf(name)
	}
	s.shuffled = s.shuffled || name < s.name || isModule && !s.conf.most(name)
	s.name = name
	s.Most = !s.shuffled && s.conf.most(name)
	if s.Kind != "" && s.enough != nil && s.enough(&s.Summary) {
		return errEnough
	}
	return nil
}

// ModuleName gives the name of the module in a file, as modprobe knows it.
func ModuleName(file string) (string, bool) {
	name := path.Base(file)
	for _, suffix := range []string{".xz", ".zst", ".gz"} {
		name = strings.TrimSuffix(name, suffix)
	}
	name, ok := strings.CutSuffix(name, ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok
}

// kindOf tells the maker by a file that only it puts in.
func kindOf(name string) string {
	switch name {
	case "conf/initramfs.conf", "scripts/functions", "scripts/init-premount/ORDER":
		return "initramfs-tools"
	case "init_functions", "buildconfig":
		return "mkinitcpio"
	case "bin/nash", "sbin/nash":
		return "mkinitrd"
	case "run_all.sh", "mkinitrd.config":
		return "mkinitrd-suse"
	case "lib/mdev/storage-device", "etc/mkinitfs", "sbin/nlplug-findfs":
		return "mkinitfs"
	}
	if strings.HasPrefix(name, "usr/lib/dracut") || strings.HasPrefix(name, "lib/dracut") || strings.HasPrefix(name, "var/lib/dracut") {
		return "dracut"
	}
	return ""
}

// Unpack gives what a file holds that may be compressed in any of these ways. Close
// does not close r.
func Unpack(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	_, unpacked, err := unpack(b, head)
	if unpacked == nil {
		return io.NopCloser(b), nil // as it is
	}
	return unpacked, err
}
