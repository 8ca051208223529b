package tinyimage

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// archive writes a cpio archive in the "newc" format, which the kernel unpacks
// as its first file system:
// https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
// The first error sticks and is returned by close.
type archive struct {
	w     *bufio.Writer
	inode int
	at    int
	err   error
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriterSize(w, 1<<20)} }

const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

func (a *archive) dir(name string) { a.entry(name, modeDir|0o755, nil) }

func (a *archive) file(name, from string, mode int) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.entry(name, modeFile|mode, data)
}

func (a *archive) entry(name string, mode int, data []byte) {
	a.inode++
	fields := []int{a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0}
	a.print("070701")
	for _, f := range fields {
		a.print(fmt.Sprintf("%08X", f))
	}
	a.print(name + "\x00")
	a.align()
	a.print(string(data))
	a.align()
}

func (a *archive) print(s string) {
	n, err := a.w.WriteString(s)
	a.at += n
	if err != nil && a.err == nil {
		a.err = err
	}
}

func (a *archive) align() {
	for a.at%4 != 0 {
		a.print("\x00")
	}
}

func (a *archive) close() error {
	a.inode = -1
	a.entry("TRAILER!!!", 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
