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
)

// The variables of a machine's UEFI firmware are a file of the host. They outlive
// instances as disks do, and go where the machine goes: with its memory, of which they
// are a part to the hypervisor, or, if the guest is to boot on another host, with the
// orders: in the answer to Leave and in TakeOver.

// maxVars bounds them, in bytes. OVMF has half a MiB.
const maxVars = 1 << 20

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
	b, err := io.ReadAll(io.LimitReader(r, maxVars+1))
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "firmware variables: %w", err)
	}
	if len(b) > maxVars {
		return nil, droveway.Errorf(droveway.Invalid, "firmware variables of more than %d bytes", maxVars)
	}
	return b, nil
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
	if err := m.kill(ctx); err != nil {
		return err
	}
	if err := replace(path, want); err != nil {
		return fmt.Errorf("write the firmware variables of machine %s: %w", m.name, err)
	}
	return a.run(ctx, m, forDisks)
}
