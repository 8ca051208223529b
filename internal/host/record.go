package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// record is what a host knows of a machine. It is on disk before the host acts
// on it, so that the next process finds whatever a killed one began. Of a
// machine that has left it keeps the token, as a fence against late commands; for how
// long, see forgetDeparted.
type record struct {
	Instance  Instance          `json:"instance"`
	Role      Role              `json:"role"`
	Handle    hypervisor.Handle `json:"handle,omitempty"`    // of the instance
	Peer      string            `json:"peer,omitempty"`      // of a move: the host on the other side
	Listen    string            `json:"listen,omitempty"`    // arriving: where it waits for memory
	Way       hypervisor.Way    `json:"way,omitempty"`       // arriving: how memory comes
	Secondary hypervisor.Handle `json:"secondary,omitempty"` // the process that serves the disks
	Export    string            `json:"export,omitempty"`    // where it serves them
	Exported  bool              `json:"exported,omitempty"`  // it is to have them open
	Origin    *TakeOver         `json:"origin,omitempty"`    // hydrating: where the disks come from
	Proved    bool              `json:"proved,omitempty"`    // hydrating: the disks are proved equal, and leave their origin
}

// blank reports whether the record says nothing of the machine, and so is not on disk.
func (r *record) blank() bool {
	return r.departed() && r.Instance.UUID == "" && r.Instance.Token == 0
}

// left is the role that an instance that is gone leaves behind: disks that were about to
// leave their origin are the machine's.
func (r *record) left(role Role) Role {
	if role == RoleHydrating && r.Proved {
		return RoleHome
	}
	return role
}

// admit refuses a command that is older than what the host has seen.
func (r *record) admit(token uint64, in order) error {
	i, isInstance := instanceOf(in)
	if isInstance && r.Role == RoleNone && i.UUID != r.Instance.UUID {
		return nil // another machine of the same name: its tokens begin anew
	}
	if have := r.Instance.Token; token < have {
		return droveway.Errorf(droveway.Conflict, "machine %s: command with token %d is older than token %d, which this host has seen: it is refused", r.Instance.Machine, token, have)
	}
	return nil
}

// instanceOf is the instance that an order brings, if it brings one.
func instanceOf(in order) (Instance, bool) {
	switch v := in.(type) {
	case Instance:
		return v, true
	case Reserve:
		return v.Instance, true
	}
	return Instance{}, false
}

// records keeps them as one file a machine.
type records struct{ dir string }

func openRecords(dir string) (records, error) {
	return records{dir}, os.MkdirAll(dir, 0o700)
}

func (r records) path(machine string) string { return filepath.Join(r.dir, machine+".json") }

// save makes a record durable.
func (r records) save(rec *record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := replace(r.path(rec.Instance.Machine), b); err != nil {
		return fmt.Errorf("keep record of machine %s: %w", rec.Instance.Machine, err)
	}
	return nil
}

func (r records) remove(machine string) error {
	if err := os.Remove(r.path(machine)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(r.dir)
}

func (r records) load() ([]*record, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*record
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		rec := &record{}
		if err := json.Unmarshal(b, rec); err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "record %s is damaged: %w; put it aside to go on without the machine", p, err)
		}
		if r.path(rec.Instance.Machine) != p {
			return nil, droveway.Errorf(droveway.Invalid, "record %s is damaged: it is of machine %q; put it aside to go on without the machine", p, rec.Instance.Machine)
		}
		all = append(all, rec)
	}
	return all, nil
}

// replace writes a file so that a kill leaves the old or the new one.
func replace(path string, b []byte) error {
	if err := writeSynced(path+".new", b); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
