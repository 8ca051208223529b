package qemu

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/droveway/droveway"
)

// account is the unprivileged user that guests run as. A nil account is the user
// of this process.
type account struct {
	name     string
	uid, gid int
	groups   []uint32
}

// lookup finds a user; the empty name is nobody in particular.
func lookup(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "user to run guests as: %w: make the user or choose another one", err)
	}
	a := &account{name: name}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "user %s: uid %q: %w", name, u.Uid, err)
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "user %s: gid %q: %w", name, u.Gid, err)
	}
	a.groups = append(groups(u), deviceGroup("/dev/kvm")...)
	return a, nil
}

// DefaultUser chooses whom guests run as on a host whose files are in dir, if
// nobody says: the user droveway, where there is one, or else nobody. Empty: the
// user of this process, because it has no power to spare, or with an error that
// says why no other will do.
func DefaultUser(dir string) (string, error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	for _, name := range []string{"droveway", "nobody"} {
		if a, err := lookup(name); err == nil {
			if err := a.reaches(filepath.Join(dir, "guest")); err != nil {
				return "", err
			}
			return name, nil
		}
	}
	return "", droveway.Errorf(droveway.NotFound, "there is no user nobody")
}

func groups(u *user.User) []uint32 {
	var all []uint32
	ids, _ := u.GroupIds() // a user without a list has its primary group
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			all = append(all, uint32(n))
		}
	}
	return all
}

// deviceGroup is the group that may use a device, if that is not root's.
func deviceGroup(path string) []uint32 {
	fi, err := os.Stat(path)
	if err != nil {
		return nil
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 || fi.Mode()&0o060 != 0o060 {
		return nil
	}
	return []uint32{st.Gid}
}

func (a *account) String() string {
	if a == nil {
		return "this user"
	}
	return "user " + a.name
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: a.groups}
}

// own gives files to the account.
func (a *account) own(paths ...string) error {
	if a == nil {
		return nil
	}
	for _, p := range paths {
		if err := os.Chown(p, a.uid, a.gid); err != nil {
			return droveway.Errorf(droveway.Permission, "give %s to %s: %w", p, a, err)
		}
		if err := a.reaches(p); err != nil {
			return err
		}
	}
	return nil
}

// reaches checks that the account may pass through all directories above a file.
func (a *account) reaches(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err != nil {
			return droveway.Errorf(droveway.NotFound, "way to %s: %w", path, err)
		}
		if !a.passes(fi) {
			return droveway.Errorf(droveway.Permission, "%s may not pass through %s on the way to %s: let it, as with chmod o+x", a, dir, path)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (a *account) passes(dir os.FileInfo) bool {
	st, ok := dir.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case int(st.Uid) == a.uid:
		return dir.Mode()&0o100 != 0
	case int(st.Gid) == a.gid:
		return dir.Mode()&0o010 != 0
	}
	return dir.Mode()&0o001 != 0
}

// Credential is that of a user as guests run with it; nil for the empty name, which
// is the user of this process.
func Credential(name string) (*syscall.Credential, error) {
	a, err := lookup(name)
	return a.credential(), err
}
