package filesystemtest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/filesystem"
)

// Dir is a folder of Memory.
type Dir = map[string]any

// Memory is a node that is not on a disk: a Dir, or a file as a string, or a link
// as "-> target".
type Memory struct{ What any }

// Stat tells what it is.
func (m Memory) Stat() filesystem.Stat {
	switch w := m.What.(type) {
	case Dir:
		return filesystem.Stat{Mode: fs.ModeDir}
	case string:
		if target, ok := strings.CutPrefix(w, "-> "); ok {
			return filesystem.Stat{Mode: fs.ModeSymlink, Size: int64(len(target))}
		}
		return filesystem.Stat{Size: int64(len(w))}
	}
	return filesystem.Stat{}
}

// ReadAt reads a file or a target.
func (m Memory) ReadAt(p []byte, off int64) (int, error) {
	w, ok := m.What.(string)
	if !ok {
		return 0, io.EOF
	}
	return strings.NewReader(strings.TrimPrefix(w, "-> ")).ReadAt(p, off)
}

// List goes through a folder.
func (m Memory) List(fn func(filesystem.Entry) error) error {
	dir, ok := m.What.(Dir)
	if !ok {
		return errors.New("not a folder")
	}
	for _, name := range slices.Sorted(maps.Keys(dir)) {
		if err := fn(filesystem.Entry{Name: name, Open: func() (filesystem.Node, error) { return Memory{dir[name]}, nil }}); err != nil {
			return err
		}
	}
	return nil
}

// FilesOf makes a Dir from paths and what they have.
func FilesOf(files map[string]string) Dir {
	root := Dir{}
	for name, what := range files {
		at := root
		elements := strings.Split(strings.Trim(name, "/"), "/")
		for _, e := range elements[:len(elements)-1] {
			next, ok := at[e].(Dir)
			if !ok {
				next = Dir{}
				at[e] = next
			}
			at = next
		}
		at[elements[len(elements)-1]] = what
	}
	return root
}
