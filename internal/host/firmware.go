package host

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// The variables of a machine's UEFI firmware are a file of the host. They outlive
// instances as disks do, and go where the machine goes: with its memory, of which they
// are a part to the hypervisor, or, if the guest is to boot on another host, with the
// orders: in the answer to Leave and in TakeOver.

func (a *Agent) varsPath(machine string) string {
	return filepath.Join(a.cfg.Dir, "firmware", machine+".vars")
}

// firmware is that of an instance, and where its variables are, which the driver
// makes if there are none yet.
func (a *Agent) firmware(i *Instance) (droveway.Firmware, string, error) {
	if i.Firmware != droveway.UEFI {
		return i.Firmware, "", nil
	}
	path := a.varsPath(i.Machine)
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil { // guests may run as another user
		return "", "", err
	}
	return i.Firmware, path, nil
}

func (a *Agent) removeVars(machine string) error {
	if err := os.Remove(a.varsPath(machine)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the firmware variables of machine %s: %w", machine, err)
	}
	return nil
}

// varsBytes is how large the variables of an instance are here; 0: it has none, or none
// yet.
func (a *Agent) varsBytes(i *Instance) int64 {
	if i.Firmware != droveway.UEFI {
		return 0
	}
	fi, err := os.Stat(a.varsPath(i.Machine))
	if err != nil {
		return 0
	}
	return fi.Size()
}

// giveVars reads the variables of a machine whose guest has ended.
func (a *Agent) giveVars(i *Instance) (Vars, error) {
	if i.Firmware != droveway.UEFI {
		return "", nil
	}
	b, err := os.ReadFile(a.varsPath(i.Machine))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the firmware variables of machine %s: %w", i.Machine, err)
	}
	return packVars(b)
}

func packVars(b []byte) (Vars, error) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(b)
	err = errors.Join(err, w.Close())
	return Vars(base64.StdEncoding.EncodeToString(packed.Bytes())), err
}

func unpackVars(v Vars) ([]byte, error) {
	r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(string(v))))
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "firmware variables: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, hypervisor.MaxVars+1))
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "firmware variables: %w", err)
	}
	if len(b) > hypervisor.MaxVars {
		return nil, droveway.Errorf(droveway.Invalid, "firmware variables of more than %d bytes", hypervisor.MaxVars)
	}
	return b, nil
}

// VarsFit refuses, as Conflict, variables of a size that the firmware of another host
// does not have: to it they would be damaged. 0: there are none yet.
func VarsFit(have, there int64) error {
	if have == 0 || there == 0 || have == there {
		return nil
	}
	return droveway.Errorf(droveway.Conflict, "the UEFI variables have %d bytes, those of the host's firmware %d: it is another firmware; choose a host with the same", have, there)
}

// takeVars gives an instance that stands the variables that its guest had on the other
// host. The hypervisor has read those it was made with, so that another instance takes
// its place if they differ. A kill in between leaves no instance, as if it had died:
// the guest boots on the host that it came from.
func (a *Agent) takeVars(ctx context.Context, m *machine, v Vars) error {
	if m.rec.Role != RoleArriving || v == "" {
		return nil
	}
	want, err := unpackVars(v)
	if err != nil {
		return err
	}
	path := a.varsPath(m.name)
	have, err := os.ReadFile(path)
	if err != nil || bytes.Equal(have, want) {
		return err
	}
	if err := VarsFit(int64(len(want)), int64(len(have))); err != nil {
		return droveway.Errorf(droveway.Conflict, "machine %s on host %s: %w", m.name, a.cfg.Name, err)
	}
	if err := m.kill(ctx); err != nil {
		return err
	}
	if err := replace(path, want); err != nil {
		return fmt.Errorf("write the firmware variables of machine %s: %w", m.name, err)
	}
	return a.run(ctx, m, forDisks)
}
