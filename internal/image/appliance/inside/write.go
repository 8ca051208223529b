package inside

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/repair"
)

// writer makes the changes of one step. Each file takes the old one's place in one
// go; nothing is flushed before the end, as the overlay of a repair that fails is
// thrown away.
type writer struct {
	step    string
	changed func(wire.Change)
}

// fresh is appended to the name of a file that is being written.
const fresh = ".droveway-new"

func (w *writer) write(f repair.File) error {
	c, err := w.replace(f)
	if err != nil {
		return droveway.Errorf(droveway.KindOf(err), "change %s: %w", f.Path, err)
	}
	w.changed(c)
	return nil
}

func (w *writer) replace(f repair.File) (c wire.Change, err error) {
	c = wire.Change{Step: w.step, Path: f.Path}
	at, err := place(f)
	if err != nil {
		return c, err
	}
	if c.Before, err = digest(at); err != nil {
		return c, err
	}
	if f.Text != "" && c.Before != f.Was {
		return c, droveway.Errorf(droveway.Conflict, "it is not what the plan was made from: inspect the image again")
	}
	next := at + fresh
	defer os.Remove(next) // it is gone already if all went well
	if err := fill(next, at, f); err != nil {
		return c, err
	}
	if c.Backup, err = keep(at, os.Link); err != nil {
		return c, err
	}
	if c.After = f.Link; f.Link == "" {
		if c.After, err = digest(next); err != nil {
			return c, err
		}
	}
	return c, os.Rename(next, at)
}

// place is where a file is, once links are followed, and its directory is made. A
// link that is to be made stands where it is said.
func place(f repair.File) (string, error) {
	at, err := filepath.EvalSymlinks(f.Path)
	if err == nil && f.Link == "" {
		return at, nil
	}
	if err := os.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(path.Dir(f.Path))
	return path.Join(dir, path.Base(f.Path)), err
}

// digest is the SHA-256 of a file, empty if there is none. Of a link, it is that of
// what it leads to.
func digest(at string) (string, error) {
	f, err := os.Open(at)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// fill makes the new file, with the old one's owner, mode and attributes.
func fill(next, at string, f repair.File) error {
	if f.Link != "" {
		return os.Symlink(f.Link, next)
	}
	out, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	switch {
	case f.From != "":
		err = copyFile(out, f.From)
	case f.Data != nil:
		_, err = out.Write(f.Data)
	case len(f.Append) > 0:
		err = extend(out, at, f.Append)
	default:
		_, err = out.WriteString(f.Text)
	}
	if err == nil {
		err = alike(out, at)
	}
	if err == nil && f.Data != nil { // a Windows, whose hives want to be whole at any time
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func copyFile(out io.Writer, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}

// alike gives a file the owner, mode and extended attributes (SELinux's label,
// access lists) of another one, if there is that.
func alike(f *os.File, as string) error {
	var st unix.Stat_t
	if err := unix.Stat(as, &st); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if done, err := windowsRights(f, as); done || err != nil {
		return err
	}
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) { // VFAT has no owners
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), st.Mode&0o7777); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	names := make([]byte, 64<<10)
	n, err := unix.Listxattr(as, names)
	if err != nil {
		return nil // a file system without them
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if n, err := unix.Getxattr(as, name, value); name != "" && err == nil {
			if err := unix.Fsetxattr(int(f.Fd()), name, value[:n], 0); err != nil {
				return droveway.Errorf(droveway.Internal, "set attribute %s: %w", name, err)
			}
		}
	}
	return nil
}

// keep keeps a file under another name beside it, by link where the file will be
// replaced. The first one that is kept is the original: it stays.
func keep(at string, by func(from, to string) error) (string, error) {
	if _, err := os.Lstat(at); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	to := repair.Kept(at)
	if _, err := os.Lstat(to); err == nil {
		return to, nil
	}
	err := by(at, to)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) { // VFAT has no links
		err = duplicate(at, to)
	}
	return to, err
}

// duplicate copies a file with all that belongs to it.
func duplicate(from, to string) error { return fill(to, from, repair.File{From: from}) }

// kept is a file that a program is to make anew.
type kept struct {
	path, backup, before string
	own                  bool // the backup was made for this
}

// keepAll keeps files before programs of the guest change them, which they may do in
// place.
func (w *writer) keepAll(paths []string) ([]kept, error) {
	var all []kept
	for _, p := range paths {
		at, err := filepath.EvalSymlinks(p)
		if errors.Is(err, os.ErrNotExist) {
			all = append(all, kept{path: p})
			continue
		}
		k := kept{path: p}
		if err == nil {
			k.before, err = digest(at)
		}
		if err == nil {
			_, there := os.Lstat(repair.Kept(at))
			k.own = there != nil
			k.backup, err = keep(at, duplicate)
		}
		if err != nil {
			return nil, droveway.Errorf(droveway.KindOf(err), "keep %s: %w", p, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// compare tells which of the kept files have changed, and removes the copies of the
// others.
func (w *writer) compare(all []kept) error {
	for _, k := range all {
		after, err := digest(k.path)
		if err != nil {
			return droveway.Errorf(droveway.Internal, "look at %s: %w", k.path, err)
		}
		switch {
		case after != k.before:
			w.changed(wire.Change{Step: w.step, Path: k.path, Before: k.before, After: after, Backup: k.backup})
		case k.own && k.backup != "":
			if err := os.Remove(k.backup); err != nil {
				return droveway.Errorf(droveway.Internal, "remove %s: %w", k.backup, err)
			}
		}
	}
	return nil
}
