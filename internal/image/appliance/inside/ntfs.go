package inside

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// ntfs is the kind of file system that a program mounts.
const ntfs = "ntfs"

// ntfsOptions: what Windows has not shut down is not touched; files get the rights that
// their folder hands on, as Windows gives them.
const ntfsOptions = "rw,norecover,permissions,inherit,streams_interface=none,usermapping=" + usersFile

// Without a list of users nothing is handed on. The first one is any, of a domain that
// there is not; root is always Windows' administrators.
const (
	usersFile = "/etc/ntfs-3g.users"
	users     = "::S-1-5-21-1-2-3-10000\n"
)

// fuse is how the kernel calls what a program mounts.
const fuse = 0x65735546

// mountNTFS lets a program mount a file system, and serve it until it is unmounted.
func mountNTFS(m wire.Mount, at string) error {
	// It asks whether mtab is a list that it has to keep.
	if err := errors.Join(os.MkdirAll("/etc", 0o755), os.Symlink("/proc/mounts", "/etc/mtab"), os.WriteFile(usersFile, []byte(users), 0o600)); err != nil {
		return droveway.Errorf(droveway.Internal, "make what ntfs-3g reads: %w", err)
	}
	args := []string{path.Join(wire.NTFS, wire.NTFSProgram), "-o", ntfsOptions, m.Device, at}
	if loader := path.Join(wire.NTFS, wire.NTFSLoader); there(loader) {
		args = append([]string{loader, "--library-path", wire.NTFS}, args...)
	}
	said := &tail{}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = 10 * time.Second // for what stays
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return unfit(m, err.Error()+said.said())
	}
	var st unix.Statfs_t
	switch err := unix.Statfs(at, &st); {
	case err != nil || st.Type != fuse:
		return unfit(m, "nothing was mounted"+said.said())
	case st.Flags&unix.ST_RDONLY != 0:
		return unfit(m, "it can only be read"+said.said())
	}
	return nil
}

// unfit refuses a file system that Windows has not let go of.
func unfit(m wire.Mount, why string) error {
	return droveway.Errorf(droveway.Conflict, "mount %s (ntfs) to change it: %s: Windows has not shut down or its disk is damaged: start it where it came from, run chkdsk /f, powercfg /h off and then shutdown /s /t 0 in it, and copy its disk again", m.Device, why)
}

func there(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// reap waits for all processes to end by themselves: what mounted a file system writes
// the last of it after it was unmounted.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}

// spelled gives a path as the disk has it, where names differ in more than case. What
// is not there stays as it is asked for.
func spelled(name string) string {
	at := "/"
	for element := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		at = path.Join(at, inFolder(at, element))
	}
	return at
}

func inFolder(dir, name string) string {
	if there(path.Join(dir, name)) {
		return name
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return name
	}
	if i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return strings.EqualFold(e.Name(), name) }); i >= 0 {
		return entries[i].Name()
	}
	return name
}

// windowsRights gives a file the rights and the marks of another one, as Windows has
// them, if both are on NTFS: an owner and a mode would be worse than those.
func windowsRights(f *os.File, as string) (done bool, err error) {
	for _, name := range []string{"system.ntfs_acl", "system.ntfs_attrib"} {
		b := make([]byte, 64<<10)
		n, err := unix.Getxattr(as, name, b)
		if err != nil {
			return done, nil // another file system, or one that has none
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, b[:n], 0); err != nil {
			return false, droveway.Errorf(droveway.Internal, "set %s: %w", name, err)
		}
		done = true
	}
	return done, nil
}
