package filesystem

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway"
)

// Limits of a look-up.
const (
	maxLinks    = 40 // as in Linux
	maxDepth    = 128
	maxTarget   = 4096
	maxCached   = 200_000 // names: some 30 MiB
	maxOpenDirs = 2000
)

// Tree is filesystems joined as their fstab joins them. Paths are absolute or
// taken from the root; no link leads out of it.
type Tree struct {
	root   Node
	fold   bool
	mounts map[string]mount
	dirs   map[string]directory
	cached int
}

type mount struct {
	node Node
	fold bool
}

type directory struct {
	fold    bool
	byName  map[string]func() (Node, error)
	folded  map[string]string
	ordered []string
}

// NewTree makes a tree of one filesystem.
func NewTree(root Node, foldCase bool) *Tree {
	return &Tree{root: root, fold: foldCase, mounts: map[string]mount{}, dirs: map[string]directory{}}
}

// Mount puts a filesystem at a path, which need not exist.
func (t *Tree) Mount(at string, root Node, foldCase bool) {
	t.mounts[clean(at)] = mount{root, foldCase}
	clear(t.dirs)
	t.cached = 0
}

// Mounted lists where filesystems were put.
func (t *Tree) Mounted() []string {
	var at []string
	for p := range t.mounts {
		at = append(at, p)
	}
	slices.Sort(at)
	return at
}

func clean(p string) string { return path.Clean("/" + p) }

// place is a node and the path it has once links are followed.
type place struct {
	node Node
	path string
	fold bool
}

// Open gives what path leads to, through symbolic links.
func (t *Tree) Open(name string) (Node, error) {
	p, err := t.walk(name, true)
	return p.node, err
}

// Lstat gives what stands at path itself.
func (t *Tree) Lstat(name string) (Node, error) {
	p, err := t.walk(name, false)
	return p.node, err
}

// Real gives the path without links.
func (t *Tree) Real(name string) (string, error) {
	p, err := t.walk(name, true)
	return p.path, err
}

// walk resolves a path element by element. Links are put in front of what is
// left, .. at the root stays there.
func (t *Tree) walk(name string, follow bool) (place, error) {
	at := []place{{t.root, "/", t.fold}}
	if m, ok := t.mounts["/"]; ok {
		at[0] = place{m.node, "/", m.fold}
	}
	left := strings.Split(name, "/")
	for links := 0; len(left) > 0; {
		element := left[0]
		left = left[1:]
		here := at[len(at)-1]
		switch {
		case element == "" || element == ".":
			continue
		case element == "..":
			at = at[:max(1, len(at)-1)]
			continue
		case len(at) > maxDepth:
			return place{}, droveway.Errorf(droveway.Invalid, "%s: more than %d folders deep", name, maxDepth)
		}
		next, err := t.step(here, element)
		if err != nil {
			return place{}, err
		}
		if !next.node.Stat().IsLink() || len(left) == 0 && !follow {
			at = append(at, next)
			continue
		}
		if links++; links > maxLinks {
			return place{}, droveway.Errorf(droveway.Invalid, "%s: more than %d symbolic links: a ring", name, maxLinks)
		}
		target, err := Target(next.node)
		if err != nil {
			return place{}, err
		}
		if strings.HasPrefix(target, "/") {
			at = at[:1]
		}
		left = append(strings.Split(target, "/"), left...)
		if len(left) > 4*maxDepth {
			return place{}, droveway.Errorf(droveway.Invalid, "%s: its links lead through more than %d folders", name, 4*maxDepth)
		}
	}
	return at[len(at)-1], nil
}

// Target reads a symbolic link.
func Target(n Node) (string, error) {
	b, err := ReadAll(n, maxTarget)
	if err == nil && strings.ContainsRune(string(b), 0) {
		err = Broken("a symbolic link with a zero byte")
	}
	return string(b), err
}

func (t *Tree) step(here place, element string) (place, error) {
	full := path.Join(here.path, element)
	if m, ok := t.mounts[full]; ok {
		return place{m.node, full, m.fold}, nil
	}
	if !here.node.Stat().IsDir() {
		return place{}, notFound(full)
	}
	d, err := t.list(here)
	if err != nil {
		return place{}, err
	}
	open, ok := d.byName[element]
	if !ok && here.fold {
		open, ok = d.byName[d.folded[strings.ToLower(element)]]
	}
	if !ok {
		return place{}, notFound(full)
	}
	n, err := open()
	if err != nil {
		return place{}, droveway.Errorf(droveway.KindOf(err), "%s: %w", full, err)
	}
	return place{n, full, here.fold}, nil
}

func notFound(p string) error { return droveway.Errorf(droveway.NotFound, "%s: no such file", p) }

// list reads a directory once.
func (t *Tree) list(here place) (directory, error) {
	if d, ok := t.dirs[here.path]; ok {
		return d, nil
	}
	d := directory{fold: here.fold, byName: map[string]func() (Node, error){}}
	if here.fold {
		d.folded = map[string]string{}
	}
	seen := 0
	err := here.node.List(func(e Entry) error {
		if seen++; seen > MaxEntries {
			return Broken("%s has more than %d entries", here.path, MaxEntries)
		}
		if _, twice := d.byName[e.Name]; twice || !sane(e.Name) {
			return nil
		}
		d.byName[e.Name] = e.Open
		d.ordered = append(d.ordered, e.Name)
		if d.folded != nil {
			d.folded[strings.ToLower(e.Name)] = e.Name
		}
		return nil
	})
	if err != nil {
		return directory{}, droveway.Errorf(droveway.KindOf(err), "folder %s: %w", here.path, err)
	}
	slices.Sort(d.ordered)
	if t.cached += len(d.ordered); t.cached > maxCached || len(t.dirs) > maxOpenDirs {
		clear(t.dirs)
		t.cached = len(d.ordered)
	}
	t.dirs[here.path] = d
	return d, nil
}

func sane(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// ReadDir lists the names in a directory, sorted.
func (t *Tree) ReadDir(name string) ([]string, error) {
	p, err := t.walk(name, true)
	if err != nil {
		return nil, err
	}
	if !p.node.Stat().IsDir() {
		return nil, droveway.Errorf(droveway.Invalid, "%s: not a folder", name)
	}
	d, err := t.list(p)
	return d.ordered, err
}

// ReadFile reads the first most bytes of a regular file.
func (t *Tree) ReadFile(name string, most int64) ([]byte, error) {
	n, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	if !n.Stat().Mode.IsRegular() {
		return nil, droveway.Errorf(droveway.Invalid, "%s: not a regular file", name)
	}
	b, err := ReadAll(n, most)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "%s: %w", name, err)
	}
	return b, nil
}

// ReadAll reads the first most bytes of a node.
func ReadAll(n Node, most int64) ([]byte, error) {
	b := make([]byte, max(0, min(n.Stat().Size, most)))
	k, err := n.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:k], err
}

// Exists reports whether path leads to something.
func (t *Tree) Exists(name string) bool {
	_, err := t.Open(name)
	return err == nil
}

// IsDir reports whether path leads to a directory.
func (t *Tree) IsDir(name string) bool {
	n, err := t.Open(name)
	return err == nil && n.Stat().IsDir()
}

// Glob lists the paths that match a pattern, each element as in path.Match.
func (t *Tree) Glob(pattern string) []string {
	found := []string{"/"}
	for element := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			next = append(next, t.globIn(dir, element)...)
		}
		found = next[:min(len(next), maxOpenDirs)]
	}
	return found
}

func (t *Tree) globIn(dir, element string) []string {
	if !strings.ContainsAny(element, `*?[\`) {
		if full := path.Join(dir, element); t.Exists(full) {
			return []string{full}
		}
		return nil
	}
	names, err := t.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, n := range names {
		if ok, _ := path.Match(element, n); ok {
			found = append(found, path.Join(dir, n))
		}
	}
	return found
}

// Mode gives the type of what path leads to, 0 if nothing is there.
func (t *Tree) Mode(name string) fs.FileMode {
	n, err := t.Open(name)
	if err != nil {
		return 0
	}
	return n.Stat().Mode
}
