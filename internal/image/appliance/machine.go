package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// machine is one throw-away guest. QEMU gets everything as open files, so that the
// user it runs as needs no way to any of them, and so that the image can only be
// read whatever QEMU is talked into.
type machine struct {
	qemu, accel string
	memory      int // MiB
	user        *syscall.Credential
	limit       time.Duration
	kernel      *os.File
	initrd      *os.File
	image       *os.File
	format      droveway.Format // of the image
	overlay     *os.File
	console     string // the last of what it showed, once it has ended
}

// Limits of QEMU beside its time.
const (
	maxAddresses = 6 << 30 // bytes: the guest's memory, translated code, threads
	maxOverlay   = 4 << 30 // bytes: a repair writes initramfs and originals, and the disk may have room for far more
	translations = 128     // MiB of translated code
	maxConsole   = 16 << 10
)

// bootArguments are the kernel's. It must not try whether its timer works: an
// emulated processor that is starved for a moment fails that.
const bootArguments = "console=ttyS0 loglevel=4 panic=-1 mitigations=off no_timer_check random.trust_cpu=on selinux=0 apparmor=0 rdinit=" + wire.Program

// ErrTooLong says that a repair had its time, and was not done.
var ErrTooLong = errors.New("it takes too long")

// run boots the machine and hands on what it says, until it has ended.
func (m *machine) run(ctx context.Context, take func(wire.Event)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.limit, droveway.Errorf(droveway.Unavailable, "%w: more than %s: a server with KVM is far quicker", ErrTooLong, m.limit))
	defer cancel()
	port, portIn, err := os.Pipe()
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "make a pipe: %w", err)
	}
	defer port.Close()
	running, end := context.WithCancel(ctx)
	defer end()
	cmd, files := m.command(running, portIn)
	console := &tail{max: maxConsole}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = console, console, files
	ended := make(chan error, 1)
	started := make(chan error)
	go hold(cmd, started, ended)
	err = <-started
	portIn.Close()
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "start %s: %w", m.qemu, err)
	}
	heard := wire.Receive(port, take)
	if heard != nil {
		end() // it would wait for somebody to listen
	}
	err = <-ended
	switch {
	case heard != nil:
		return heard
	case ctx.Err() != nil:
		return droveway.Errorf(droveway.Unavailable, "the appliance was stopped: %w%s", context.Cause(ctx), console.said())
	case err != nil:
		return droveway.Errorf(droveway.Internal, "the appliance ended with an error: %w%s", err, console.said())
	}
	m.console = console.said()
	return nil
}

// hold starts a command and reaps it. The kernel sends the parent-death signal when
// the thread ends that started the command, so that thread is held until then.
func hold(cmd *exec.Cmd, started, ended chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		ended <- cmd.Wait()
	}
}

// firstFile is the number of the first of ExtraFiles in the child.
const firstFile = 3

// command is QEMU's command line, and the files that it refers to.
func (m *machine) command(ctx context.Context, port *os.File) (*exec.Cmd, []*os.File) {
	var files []*os.File
	var args []string
	direct := func(f *os.File) string { // for what is opened anew by its path
		files = append(files, f)
		return fmt.Sprintf("/proc/self/fd/%d", firstFile+len(files)-1)
	}
	set := func(f *os.File) string { // for what has to be this very file
		files = append(files, f)
		args = append(args, "-add-fd", fmt.Sprintf("fd=%d,set=%d", firstFile+len(files)-1, len(files)))
		return fmt.Sprintf("/dev/fdset/%d", len(files))
	}
	disk := quote(object{
		"driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": object{"driver": "file", "filename": set(m.overlay), "discard": "unmap", "cache": object{"no-flush": true}},
		"backing": m.base(set(m.image)),
	})
	chardev := "file,id=port,append=on,path=" + set(port)
	args = append([]string{
		"--as=" + strconv.Itoa(maxAddresses), "--cpu=" + strconv.Itoa(2*int(m.limit/time.Second)), "--fsize=" + strconv.Itoa(maxOverlay), "--core=0", "--",
		m.qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", "q35,graphics=off", "-accel", m.accelerator(), "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(m.memory),
		"-kernel", direct(m.kernel), "-initrd", direct(m.initrd), "-append", bootArguments,
	}, args...)
	args = append(args,
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", "-chardev", chardev, "-serial", "chardev:port",
		"-blockdev", disk, "-device", "virtio-blk-pci,drive=disk")
	cmd := exec.CommandContext(ctx, "prlimit", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.user, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	return cmd, files
}

// base is the image, and nothing that it may name.
func (m *machine) base(path string) object {
	o := object{"driver": m.format, "node-name": "image", "read-only": true, "file": object{"driver": "file", "filename": path, "read-only": true}}
	if m.format == droveway.QCOW2 {
		o["backing"] = nil
	}
	return o
}

func (m *machine) accelerator() string {
	if m.accel == "tcg" {
		return "tcg,tb-size=" + strconv.Itoa(translations)
	}
	return m.accel
}

// object is what QEMU takes as JSON.
type object map[string]any

func quote(o object) string {
	b, _ := json.Marshal(o) // plain data always marshals
	return string(b)
}

// tail keeps the end of what is written to it.
type tail struct {
	kept []byte
	max  int
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - t.max; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

// said is the last lines, for an error.
func (t *tail) said() string {
	const most = 12
	text := strings.TrimSpace(strings.ReplaceAll(string(t.kept), "\r", ""))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; its console said: " + strings.Join(lines[max(0, len(lines)-most):], " | ")
}
