package hand

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Chunk is how much is written or read at a time.
const Chunk = 1 << 20

func (o Order) carryOut() (a Answer, err error) {
	if o.Offset < 0 || o.Length < 0 || o.Offset%Chunk != 0 || o.Length%Chunk != 0 {
		return a, fmt.Errorf("a range from %d of %d bytes: give multiples of %d", o.Offset, o.Length, Chunk)
	}
	path, err := device(o.Disk)
	if err != nil {
		return a, err
	}
	d, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	switch o.Do {
	case Size:
		a.Size, err = d.Seek(0, io.SeekEnd)
	case Fill:
		err = o.fill(d)
	case Sum:
		a.Sum, err = o.sum(d)
	case Sync:
		err = o.sync(d)
	case Discard:
		err = o.ioctl(d, unix.BLKDISCARD)
	case Zero:
		err = o.ioctl(d, unix.BLKZEROOUT)
	case Punch:
		err = unix.Fallocate(int(d.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.Offset, o.Length)
	default:
		err = fmt.Errorf("there is no verb %q", o.Do)
	}
	return a, err
}

// device finds a disk by its serial number, which is the disk's name.
func device(name string) (string, error) {
	all, err := filepath.Glob("/sys/block/*/serial")
	if err != nil {
		return "", err
	}
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(b)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(path)), nil
		}
	}
	return "", fmt.Errorf("there is no disk %q", name)
}

// aligned is memory for one chunk that direct I/O accepts.
func aligned() ([]byte, error) {
	return unix.Mmap(-1, 0, Chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func (o Order) fill(d *os.File) error {
	return o.each(func(b []byte, at int64) error {
		pattern(b, at)
		_, err := d.WriteAt(b, at)
		return err
	}, func() error { return unix.Fdatasync(int(d.Fd())) })
}

// pattern is bytes without a zero block, others at each offset.
func pattern(b []byte, at int64) {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%d", at))
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
}

func (o Order) sum(d *os.File) (string, error) {
	sum := sha256.New()
	err := o.each(func(b []byte, at int64) error {
		_, err := d.ReadAt(b, at)
		sum.Write(b)
		return err
	}, func() error { return nil })
	return hex.EncodeToString(sum.Sum(nil)), err
}

// each calls do for each chunk of the range, then end.
func (o Order) each(do func(b []byte, at int64) error, end func() error) error {
	b, err := aligned()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(b) }()
	for at := o.Offset; at < o.Offset+o.Length; at += Chunk {
		if err := do(b, at); err != nil {
			return err
		}
	}
	return end()
}

const block = 4096

func (o Order) sync(d *os.File) error {
	b, err := aligned()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(b) }()
	for n := range o.Count {
		pattern(b[:block], int64(n))
		if _, err := d.WriteAt(b[:block], o.Offset); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(d.Fd())); err != nil {
			return err
		}
	}
	return nil
}

func (o Order) ioctl(d *os.File, request uintptr) error {
	r := [2]uint64{uint64(o.Offset), uint64(o.Length)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), request, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}

// SumOf is the sum of a range that holds what Fill wrote, and zeroes where it is
// said to be empty.
func SumOf(offset, length int64, empty func(at int64) bool) string {
	sum, b := sha256.New(), make([]byte, Chunk)
	for at := offset; at < offset+length; at += Chunk {
		clear(b)
		if !empty(at) {
			pattern(b, at)
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
