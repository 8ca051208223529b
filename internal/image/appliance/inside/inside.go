// Package inside is the appliance seen from inside: the first process of a
// throw-away guest. It loads modules, mounts the file systems of the disk it was
// given, makes the changes it was ordered to make, tells its host of each, and
// powers the machine off.
//
// It runs with the disk's root as its own root, so that no path and no link of the
// disk leads anywhere else. All that it touches is the disk and the machine that
// ends with it.
package inside

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// Called reports whether this process is the first one of an appliance.
func Called() bool { return os.Getpid() == 1 && os.Args[0] == wire.Program }

// Main carries out the order and powers the machine off.
func Main() {
	a := &appliance{step: "start"}
	if err := a.run(); err != nil {
		fmt.Println("droveway-appliance:", err) // the console has it even where the port fails
		a.tell(wire.Event{Failed: &wire.Failure{Step: a.step, Kind: droveway.KindOf(err), What: err.Error()}})
	} else {
		a.tell(wire.Event{Done: true})
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {} // the end of the first process would be a panic of the kernel
}

// appliance is the one that runs.
type appliance struct {
	port  *os.File
	order wire.Order
	step  string // under way
}

func (a *appliance) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = droveway.Errorf(droveway.Internal, "the appliance failed: %v", p)
		}
	}()
	if err := a.start(); err != nil {
		return err
	}
	a.begin("mount")
	g, err := enter(a.order.Disk)
	if err != nil {
		return err
	}
	for _, s := range a.order.Steps {
		a.begin(s.Name)
		if err := a.carryOut(s); err != nil {
			return err
		}
	}
	a.begin("unmount")
	return g.leave()
}

func (a *appliance) begin(step string) {
	a.step = step
	a.tell(wire.Event{Step: step})
}

// tell sends an event. There is nobody to complain to if that fails; the host
// misses the last one.
func (a *appliance) tell(e wire.Event) {
	if a.port != nil {
		_ = wire.Send(a.port, e)
	}
}

// start makes a machine of what the kernel has left: kernel file systems, the order,
// modules.
func (a *appliance) start() error {
	for _, kind := range []string{"proc", "sysfs", "devtmpfs"} {
		if err := mountKernel(kind); err != nil {
			return err
		}
	}
	port, err := os.OpenFile(wire.Port, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "open the port to the host: %w", err)
	}
	a.port = port
	b, err := os.ReadFile(wire.OrderFile)
	if err == nil {
		err = json.Unmarshal(b, &a.order)
	}
	if err == nil {
		err = os.Remove(wire.OrderFile) // keys are no business of the guest's programs
	}
	if err != nil {
		return droveway.Errorf(droveway.Internal, "read the order: %w", err)
	}
	for _, m := range a.order.Modules {
		if err := load(wire.Modules + "/" + m); err != nil {
			return err
		}
	}
	return nil
}

// places are where file systems of the kernel are mounted.
var places = map[string]string{"proc": "/proc", "sysfs": "/sys", "devtmpfs": "/dev", "tmpfs": "/run"}

func mountKernel(kind string) error {
	at := places[kind]
	if err := os.MkdirAll(at, 0o755); err != nil {
		return droveway.Errorf(droveway.Internal, "make %s: %w", at, err)
	}
	if err := unix.Mount(kind, at, kind, 0, ""); err != nil && err != unix.EBUSY {
		return droveway.Errorf(droveway.Internal, "mount %s: %w", at, err)
	}
	return nil
}

func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return droveway.Errorf(droveway.Unsupported, "load module %s: %w: its kernel may not be the one that runs", file, err)
	}
	return nil
}

// devicesWithin bounds the wait for a disk, which appears some time after its module
// was loaded.
const devicesWithin = time.Minute

func awaitDevice(path string) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		} else if time.Since(began) > devicesWithin {
			return droveway.Errorf(droveway.Invalid, "%s does not appear: the disk is divided in a way that the kernel does not see: %w", path, err)
		}
	}
}
