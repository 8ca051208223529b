package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// Accelerators.
const (
	kvm = "kvm"
	tcg = "tcg"
)

// The time that the trial guest may take. Under a KVM that works it is done in a
// fraction of this.
const (
	kvmWithin = 3 * time.Second
	tcgWithin = 30 * time.Second
)

// trialExit is QEMU's exit code when the trial guest has got through:
// isa-debug-exit ends it with twice what is written plus one.
const trialExit = 0x10<<1 | 1

// trialGuest is a boot sector that waits for a tick of the timer, so that
// interrupts are tried too, and ends QEMU.
func trialGuest() []byte {
	code := []byte{
		0xfb,             // sti
		0xf4,             // hlt
		0xba, 0xf4, 0x00, // mov dx, 0xf4
		0xb0, 0x10, // mov al, 0x10
		0xee,       // out dx, al
		0xeb, 0xfe, // jmp $
	}
	b := make([]byte, trialSize)
	copy(b, code)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// trialSize is large enough for the BIOS to find a geometry.
const trialSize = 1 << 20

// tryAccelerator runs the trial guest. No error means that guests run.
func (d *Driver) tryAccelerator(ctx context.Context, accel string, user *account) error {
	within := tcgWithin
	if accel == kvm {
		within = kvmWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	disk, err := memoryFile(trialGuest())
	if err != nil {
		return err
	}
	defer disk.Close()
	node := object{
		"driver": "raw", "node-name": "trial", "read-only": true,
		"file": object{"driver": "file", "filename": "/proc/self/fd/3", "read-only": true, "locking": "off"},
	}
	cmd := exec.CommandContext(ctx, d.cfg.QEMU,
		"-machine", machineType+",accel="+accel, "-cpu", cpuFor(accel), "-m", "32", "-nodefaults", "-no-user-config", "-display", "none",
		"-blockdev", node.String(), "-device", "virtio-blk-pci,drive=trial,bootindex=0",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=0x04")
	cmd.ExtraFiles = []*os.File{disk}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user.credential(), Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	return trialResult(ctx, cmd, within)
}

func trialResult(ctx context.Context, cmd *exec.Cmd, within time.Duration) error {
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return droveway.Errorf(droveway.Unavailable, "a guest did not run within %s", within)
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return droveway.Missing("qemu", "%s is not installed", cmd.Path)
	case ok && exit.ExitCode() == trialExit:
		return nil
	case err == nil:
		return droveway.Errorf(droveway.Unavailable, "a guest did not do what it is made for")
	}
	return refusal(string(out), err)
}

// memoryFile makes a file without a name.
func memoryFile(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("droveway-trial", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "trial guest: %w", err)
	}
	f := os.NewFile(uintptr(fd), "droveway-trial")
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, droveway.Errorf(droveway.Internal, "trial guest: %w", err)
	}
	return f, nil
}

func cpuFor(accel string) string {
	if accel == kvm {
		return "host"
	}
	return "max"
}
