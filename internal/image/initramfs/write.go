package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Writer writes a cpio archive in the "newc" format, which the kernel unpacks as its
// first file system:
// https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
// The first error sticks and is returned by Close.
type Writer struct {
	w     *bufio.Writer
	inode int
	err   error
}

// NewWriter begins an archive.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 1<<20)} }

const (
	modeDir    = 0o040000
	modeFile   = 0o100000
	modeDevice = 0o020000
)

// Dir adds a directory. Those above it must be there.
func (w *Writer) Dir(name string) { w.entry(name, modeDir|0o755, [2]int{}, nil) }

// File adds a file.
func (w *Writer) File(name string, mode int, data []byte) {
	w.entry(name, modeFile|mode, [2]int{}, data)
}

// Device adds a character device.
func (w *Writer) Device(name string, major, minor int) {
	w.entry(name, modeDevice|0o600, [2]int{major, minor}, nil)
}

func (w *Writer) entry(name string, mode int, device [2]int, data []byte) {
	w.inode++
	fields := []int{w.inode, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name) + 1, 0}
	var h strings.Builder
	h.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&h, "%08X", f)
	}
	w.write([]byte(h.String() + name + "\x00"))
	w.write(data)
}

// write writes and fills up to a multiple of four.
func (w *Writer) write(b []byte) {
	for _, p := range [][]byte{b, make([]byte, pad(int64(len(b)))-int64(len(b)))} {
		if _, err := w.w.Write(p); err != nil && w.err == nil {
			w.err = err
		}
	}
}

// Close ends the archive.
func (w *Writer) Close() error {
	w.inode = -1
	w.entry(cpioTrailer, 0, [2]int{}, nil)
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}
