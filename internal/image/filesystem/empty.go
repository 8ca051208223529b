package filesystem

import (
	"io"
	"io/fs"
)

// Empty is a directory with nothing in it.
type Empty struct{}

// Stat says that it is a directory.
func (Empty) Stat() Stat { return Stat{Mode: fs.ModeDir | 0o755} }

// ReadAt finds nothing.
func (Empty) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// List finds nothing.
func (Empty) List(func(Entry) error) error { return nil }
