package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/kernel"
	"github.com/droveway/droveway/internal/volume"
)

const (
	defaultLimit = 20 * time.Minute // an emulated processor is slow
	quickMemory  = 320              // MiB, to write files
	fullMemory   = 512              // MiB, to run the guest's programs
	hiveMemory   = 1024             // MiB, to change hives of a Windows: several times their size
)

// Able reports as Unsupported what is missing on this host for any repair.
func (a *Appliance) Able(ctx context.Context) error {
	_, _, err := a.means(ctx)
	return err
}

// means are the kernel and the accelerator.
func (a *Appliance) means(ctx context.Context) (*kernel.Kernel, string, error) {
	k, err := findKernel(a.cfg.Kernel)
	if err != nil {
		return nil, "", err
	}
	driver := qemu.New(qemu.Config{QEMU: a.cfg.QEMU, Accel: a.cfg.Accel, User: a.cfg.User, Log: a.cfg.Log})
	found, err := driver.Probe(ctx)
	if err != nil {
		return nil, "", droveway.Missing("image.repair", "a repair needs QEMU on this host: install the package qemu-system-x86: %v", err)
	}
	return k, found["accelerator"], nil
}

// machine makes what an order needs to run.
func (a *Appliance) machine(ctx context.Context, order wire.Order) (m *machine, err error) {
	k, accel, err := a.means(ctx)
	if err != nil {
		return nil, err
	}
	memory := quickMemory
	for _, s := range order.Steps {
		if len(s.Run) > 0 {
			memory = fullMemory
		}
	}
	var bundle map[string]string
	if order.Disk.Mounts[0].Kind == ntfs {
		memory = hiveMemory
		if bundle, err = a.bundle(); err != nil {
			return nil, err
		}
	}
	modules, err := load(k, order.Disk)
	if err != nil {
		return nil, err
	}
	m = &machine{qemu: cmp.Or(a.cfg.QEMU, "qemu-system-x86_64"), accel: accel, memory: memory, limit: cmp.Or(a.cfg.Limit, defaultLimit)}
	if m.user, err = qemu.Credential(a.cfg.User); err != nil {
		return nil, err
	}
	m.kernel, err = scratch(func(f *os.File) error { return copyInto(f, k.Image) })
	if err == nil {
		m.initrd, err = inMemory(func(f *os.File) error { return a.writeInitrd(f, order, modules, bundle) })
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// scratch makes a file that has no name any more, so that nothing of it is left
// however this process ends.
func scratch(fill func(*os.File) error) (*os.File, error) {
	f, err := os.CreateTemp("", "droveway-appliance-")
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "make a file for the appliance: %w", err)
	}
	_ = os.Remove(f.Name())
	if err = f.Chmod(0o444); err == nil { // QEMU opens it anew, as another user
		err = fill(f)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.ENOSPC) {
			err = volume.NoRoom(err, f.Name(), 1)
		}
		return nil, err
	}
	return f, nil
}

// inMemory makes a file that is on no disk, as the order may have keys.
func inMemory(fill func(*os.File) error) (*os.File, error) {
	fd, err := unix.MemfdCreate("droveway-appliance", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "make a file for the appliance in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "droveway-appliance")
	if err = f.Chmod(0o444); err == nil { // as above
		err = fill(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func copyInto(f *os.File, path string) error {
	b, err := readable(path)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return err
}

// open makes the overlay and opens the disks.
func (m *machine) open(ctx context.Context, r Request, image *format.Image) (err error) {
	path, err := filepath.Abs(r.Image)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "image %s: %w", r.Image, err)
	}
	m.format = droveway.Format(image.Kind)
	if err := m.format.Validate(); err != nil {
		return droveway.Errorf(droveway.Unsupported, "an image of the format %s cannot be repaired: convert it to qcow2 before", image.Kind)
	}
	if m.image, err = os.Open(path); err != nil {
		return droveway.Errorf(droveway.NotFound, "open the image: %w", err)
	}
	// Nobody else's file is overwritten, or removed when this fails.
	if m.overlay, err = os.OpenFile(r.Overlay, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return droveway.Errorf(droveway.Exists, "make the overlay: %w", err)
	}
	if err := createOverlay(ctx, r.Overlay, path, m.format, image.Size); err != nil {
		_ = os.Remove(r.Overlay)
		return err
	}
	return nil
}

// createOverlay does not look into the image: -u.
func createOverlay(ctx context.Context, overlay, image string, format droveway.Format, size int64) error {
	overlay, err := filepath.Abs(overlay)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "overlay %s: %w", overlay, err)
	}
	cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", string(format), "-b", image, overlay, strconv.FormatInt(size, 10))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "make the overlay: %s", cmp.Or(strings.TrimSpace(string(out)), fmt.Sprint(err)))
	}
	return nil
}

// close closes the files. The overlay stays.
func (m *machine) close() {
	for _, f := range slices.DeleteFunc([]*os.File{m.kernel, m.initrd, m.image, m.overlay}, func(f *os.File) bool { return f == nil }) {
		_ = f.Close()
	}
}
