package inside

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/devmapper"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// guestRoot is where the guest's root is mounted before it is this process's.
const guestRoot = "/guest"

// guest is a system whose root is that of this process.
type guest struct {
	outside *os.File // the root before
	windows bool     // nothing of it runs, and nothing but its disk is mounted in it
	mounted []string // in the guest, in order
}

// enter makes the guest's file systems those of this process.
func enter(d wire.Disk) (*guest, error) {
	if len(d.Mounts) == 0 || d.Mounts[0].Path != "/" {
		return nil, droveway.Errorf(droveway.Internal, "the order names no root")
	}
	if err := makeDevices(d); err != nil {
		return nil, err
	}
	outside, err := os.Open("/")
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "open the root: %w", err)
	}
	if err := mountFile(d.Mounts[0], guestRoot); err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Chroot(guestRoot), unix.Chdir("/")); err != nil {
		return nil, droveway.Errorf(droveway.Internal, "enter the guest's root: %w", err)
	}
	g := &guest{outside: outside, windows: d.Mounts[0].Kind == ntfs}
	if g.windows {
		return g, nil
	}
	return g, g.join(d.Mounts[1:])
}

// join mounts the rest. What it is mounted on may be reached through links of the
// guest, which end in here. /run may be on another file system than the root.
func (g *guest) join(rest []wire.Mount) error {
	for _, kind := range []string{"proc", "sysfs", "devtmpfs"} {
		if err := mountKernel(kind); err != nil {
			return err
		}
		g.mounted = append(g.mounted, places[kind])
	}
	for _, m := range rest {
		at, err := filepath.EvalSymlinks(m.Path)
		if err != nil {
			return droveway.Errorf(droveway.Invalid, "mount %s: %w", m.Path, err)
		}
		if err := mountFile(m, at); err != nil {
			return err
		}
		g.mounted = append(g.mounted, at)
	}
	g.mounted = append(g.mounted, places["tmpfs"])
	return mountKernel("tmpfs")
}

// mountFile mounts a file system of the disk. Its journal is replayed by that, as
// the guest itself would have done.
func mountFile(m wire.Mount, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return droveway.Errorf(droveway.Internal, "make %s: %w", at, err)
	}
	if err := awaitDevice(m.Device); err != nil {
		return err
	}
	if m.Kind == ntfs {
		return mountNTFS(m, at)
	}
	if err := unix.Mount(m.Device, at, m.Kind, 0, m.Options); err != nil {
		return droveway.Errorf(droveway.Invalid, "mount %s (%s) at %s: %w: the file system may be damaged; check it where it came from", m.Device, m.Kind, m.Path, err)
	}
	return nil
}

// makeDevices makes what a system's device manager makes otherwise.
func makeDevices(d wire.Disk) error {
	links := map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2"}
	for name, to := range d.Links {
		links["/dev/disk/"+name] = to
	}
	for _, a := range d.Arrays {
		if err := assemble(a); err != nil {
			return err
		}
		links["/dev/"+a.Path] = a.Device
	}
	for _, m := range d.Maps {
		node, err := mapDevice(m)
		if err != nil {
			return err
		}
		links["/dev/mapper/"+m.Name] = node
		if m.Path != "" {
			links["/dev/"+m.Path] = node
		}
	}
	for name, to := range links {
		err := os.MkdirAll(path.Dir(name), 0o755)
		if err == nil {
			err = os.Symlink(to, name)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return droveway.Errorf(droveway.Internal, "make %s: %w", name, err)
		}
	}
	return nil
}

// mapDevice makes a device of others, as soon as these are there. Its name is made at
// once, for the next one may be made of it.
func mapDevice(m wire.Map) (node string, err error) {
	for _, t := range m.Table {
		for part := range strings.FieldsSeq(t.Params) {
			if strings.HasPrefix(part, "/dev/vd") {
				if err := awaitDevice(part); err != nil {
					return "", err
				}
			}
		}
	}
	minor, err := devmapper.Create(m)
	if err != nil {
		return "", err
	}
	node = fmt.Sprintf("/dev/dm-%d", minor)
	if err := awaitDevice(node); err != nil {
		return "", err
	}
	if err := os.Symlink(node, "/dev/mapper/"+m.Name); err != nil {
		return "", droveway.Errorf(droveway.Internal, "name device %s: %w", m.Name, err)
	}
	return node, nil
}

// leave ends what still runs in the guest and unmounts everything, so that its file
// systems are clean.
func (g *guest) leave() error {
	if !g.windows { // in which what serves its file system must stay
		endAll()
	}
	unix.Sync()
	for _, at := range slices.Backward(g.mounted) {
		if err := unmount(at); err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Fchdir(int(g.outside.Fd())), unix.Chroot(".")); err != nil {
		return droveway.Errorf(droveway.Internal, "leave the guest's root: %w", err)
	}
	err := unmount(guestRoot)
	if err == nil {
		reap()
	}
	return err
}

// endAll kills every process but this one, the first, and waits for them.
func endAll() {
	_ = unix.Kill(-1, unix.SIGKILL) // fails if there is none
	reap()
}

const unmountTries = 50

// unmount tries again for a while: the kernel may not have closed yet what a process
// had open that was killed.
func unmount(at string) error {
	for try := 1; ; try++ {
		err := unix.Unmount(at, 0)
		if err == nil {
			return nil
		}
		if err != unix.EBUSY || try == unmountTries {
			return droveway.Errorf(droveway.Internal, "unmount %s of the guest: %w", at, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
