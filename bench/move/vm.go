package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/qmp"
)

const (
	qemuBinary  = "qemu-system-x86_64"
	diskNode    = "disk0"
	credentials = "tls0"
	monitorTime = 10 * time.Second
)

// vm is a QEMU of our own, with the devices that Droveway gives its machines.
type vm struct {
	site    site
	cmd     *exec.Cmd
	monitor *qmp.Client
	events  <-chan qmp.Event
	ended   chan struct{}
}

// startVM starts QEMU on a host; one that is incoming waits for memory.
func (b *bed) startVM(ctx context.Context, g *plain, s site, incoming bool) (*vm, error) {
	tap, err := b.tap(ctx, s, "bench0")
	if err != nil {
		return nil, err
	}
	defer tap.Close()
	v := &vm{site: s, ended: make(chan struct{})}
	socket := v.site.path("qmp")
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clear the monitor's socket: %w", err)
	}
	log, err := os.Create(v.site.path("qemu.log"))
	if err != nil {
		return nil, fmt.Errorf("log of QEMU: %w", err)
	}
	defer log.Close()
	v.cmd = b.scene.Lab.Command(context.WithoutCancel(ctx), s.namespace, qemuBinary, b.arguments(v, g.disk(s), incoming)...)
	v.cmd.Stdout, v.cmd.Stderr, v.cmd.ExtraFiles = log, log, []*os.File{tap}
	if err := v.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	go func() {
		defer close(v.ended)
		_ = v.cmd.Wait() // how it ended stands in its log
	}()
	if err := v.connect(ctx, socket); err != nil {
		return nil, errors.Join(err, v.stop(ctx))
	}
	return v, nil
}

// arguments is QEMU's command line: the devices and places of Droveway's driver.
func (b *bed) arguments(v *vm, disk string, incoming bool) []string {
	endpoint := "client"
	if incoming {
		endpoint = "server"
	}
	args := []string{
		"-name", plainName, "-machine", machineType + ",graphics=off,accel=" + b.setting.Accelerator, "-cpu", b.cpu(), "-smp", "1",
		"-m", strconv.FormatInt(b.memoryKiB(), 10) + "k",
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-rtc", "base=utc",
		"-serial", "file:" + v.site.path("console.log"), "-qmp", "unix:" + v.site.path("qmp") + ",server=on,wait=off",
		"-object", option(members{"qom-type": "tls-creds-x509", "id": credentials, "dir": v.site.tls, "endpoint": endpoint, "verify-peer": true}),
		"-object", "rng-builtin,id=entropy", "-device", "virtio-rng-pci,bus=pcie.0,addr=0x1d,rng=entropy",
		"-blockdev", option(fileNode(diskNode, disk, false)),
		"-device", "virtio-blk-pci,id=vd0,bootindex=0,bus=pcie.0,addr=0x4,werror=stop,rerror=stop,drive=" + diskNode,
		"-blockdev", option(fileNode("seed", v.site.path(seedFile), true)),
		"-device", "virtio-blk-pci,id=vd1,bus=pcie.0,addr=0x1c,drive=seed",
		"-netdev", "tap,id=net0,fd=3", // the first of ExtraFiles
		"-device", "virtio-net-pci,id=nic0,bus=pcie.0,addr=0x14,romfile=,netdev=net0,mac=" + plainMAC,
	}
	if incoming {
		args = append(args, "-S", "-incoming", "defer")
	}
	return args
}

// machineType is that of Droveway's guests.
const machineType = "pc-q35-7.2"

func (b *bed) cpu() string {
	if b.setting.Accelerator == "kvm" {
		return "host"
	}
	return "max"
}

func fileNode(name, path string, readOnly bool) members {
	return members{
		"driver": "raw", "node-name": name, "read-only": readOnly, "discard": "unmap",
		"file": members{"driver": "file", "filename": path, "discard": "unmap"},
	}
}

// members is a JSON object for QEMU.
type members map[string]any

// option writes an option of QEMU's as JSON.
func option(m members) string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and booleans
	}
	return string(text)
}

// memoryKiB is the guest's memory. Without KVM, QEMU below 9.0 damages memory on
// a migration if it is a multiple of 256 KiB; so Droveway adds 8 KiB there, and
// so do we in every mode.
func (b *bed) memoryKiB() int64 {
	const kib, more = 1024, 8
	var major int
	_, err := fmt.Sscanf(b.setting.QEMU, "%d.", &major)
	if b.setting.Accelerator == "tcg" && (err != nil || major < 9) {
		return memoryMiB*kib + more
	}
	return memoryMiB * kib
}

func (v *vm) connect(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, monitorTime)
	defer cancel()
	for {
		monitor, err := qmp.Dial(ctx, socket)
		if err == nil {
			v.monitor = monitor
			v.events, _ = monitor.Events()
			return nil
		}
		select {
		case <-v.ended:
			return droveway.Errorf(droveway.Unavailable, "QEMU ended at its start: %s", v.words())
		case <-ctx.Done():
			return fmt.Errorf("QEMU's monitor: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// words is what QEMU said.
func (v *vm) words() string {
	text, err := os.ReadFile(v.site.path("qemu.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// do gives a command without interest in what it returns.
func (v *vm) do(ctx context.Context, command string, args members) error {
	if args == nil {
		args = members{}
	}
	if err := v.monitor.Execute(ctx, command, args, nil); err != nil {
		return fmt.Errorf("QEMU on %s: %w", v.site.name, err)
	}
	return nil
}

// happens waits for an event whose data ok accepts.
func (v *vm) happens(ctx context.Context, name string, ok func(data json.RawMessage) bool) error {
	for {
		select {
		case e, open := <-v.events:
			switch {
			case !open:
				return droveway.Errorf(droveway.Unavailable, "QEMU on %s ended: %s", v.site.name, v.words())
			case e.Name == name && ok(e.Data):
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("QEMU on %s: no event %s: %w", v.site.name, name, context.Cause(ctx))
		}
	}
}

func anyData(json.RawMessage) bool { return true }

// stop ends QEMU without asking its guest.
func (v *vm) stop(ctx context.Context) error {
	if v.monitor != nil {
		_ = v.monitor.Close()
	}
	if err := v.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end QEMU: %w", err)
	}
	select {
	case <-v.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// at is an address of QEMU's.
func (v *vm) at(port string) members {
	return members{"type": "inet", "host": v.site.address.String(), "port": port}
}

func (v *vm) hostPort(port string) string { return net.JoinHostPort(v.site.address.String(), port) }
