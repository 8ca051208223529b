package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Names of files in the directory of an instance. They are given to QEMU without
// their directory, which it runs in: a socket's path may have 107 bytes only.
const (
	monitorName = "qmp.sock"
	handleName  = "qemu.json"
	logName     = "qemu.log"
	consoleName = "console.log"
)

// handle is all that it takes to find an instance again.
type handle struct {
	Process processID       `json:"process"`
	Spec    hypervisor.Spec `json:"spec"`
	Group   string          `json:"group,omitempty"` // directory of its control group
	User    string          `json:"user,omitempty"`
}

func parseHandle(raw hypervisor.Handle) (handle, error) {
	var h handle
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, droveway.Errorf(droveway.Invalid, "handle %q: %w", raw, err)
	}
	if h.Process.PID <= 0 || h.Spec.Dir == "" {
		return h, droveway.Errorf(droveway.Invalid, "handle %q is none of the qemu driver", raw)
	}
	return h, nil
}

func (h *handle) encode() hypervisor.Handle {
	b, _ := json.Marshal(h) // plain data always marshals
	return b
}

func (h *handle) file(name string) string { return filepath.Join(h.Spec.Dir, name) }

// save writes the handle beside the instance, all of it or nothing.
func (h *handle) save() error { return writeFile(h.file(handleName), h.encode()) }

func writeFile(path string, b []byte) error {
	tmp := path + ".tmp"
	err := os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return droveway.Errorf(droveway.Internal, "write %s: %w", path, err)
	}
	return nil
}

// loadHandle reads the handle that an earlier start left in a directory, nil if
// there is none. A loss of power can leave a file with nothing in it, but no
// process either.
func loadHandle(dir string) (*handle, error) {
	b, err := os.ReadFile(filepath.Join(dir, handleName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "earlier instance: %w", err)
	}
	h, err := parseHandle(b)
	if err != nil {
		return nil, nil
	}
	return &h, nil
}

// made reports whether the instance was made from the same spec.
func (h *handle) made(spec hypervisor.Spec) bool {
	mine, err1 := json.Marshal(h.Spec)
	theirs, err2 := json.Marshal(spec)
	return err1 == nil && err2 == nil && bytes.Equal(mine, theirs)
}

// remove takes away what an instance that has ended needs no more; its logs stay.
// Another one may be in its place by now, whose handle tells.
func (h *handle) remove() {
	now, err := loadHandle(h.Spec.Dir)
	if err != nil || now == nil || now.Process != h.Process {
		return
	}
	removeGroup(h.Group)
	_ = os.Remove(h.file(monitorName))
	_ = os.Remove(h.file(handleName))
}
