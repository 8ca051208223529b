package qemu

import (
	"context"
	"maps"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/qmp"
)

// platform is what guests run on here.
type platform struct {
	accel   string
	cpu     string // model
	version qmp.Version
	hidden  []string // flags that no guest gets
	user    *account
	groups  hierarchy
	uefi    *flash // nil: there is none
	found   hypervisor.Capabilities
}

// Probe tries what works. The second call answers from memory.
func (d *Driver) Probe(ctx context.Context) (hypervisor.Capabilities, error) {
	p, err := d.platform(ctx)
	if err != nil {
		return nil, err
	}
	return maps.Clone(p.found), nil
}

func (d *Driver) platform(ctx context.Context) (*platform, error) {
	d.probe.Lock()
	defer d.probe.Unlock()
	if d.found != nil {
		return d.found, nil
	}
	p, err := d.look(ctx)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "probe QEMU: %w", err)
	}
	d.found = p
	return p, nil
}

func (d *Driver) look(ctx context.Context) (*platform, error) {
	user, err := lookup(d.cfg.User)
	if err != nil {
		return nil, err
	}
	p := &platform{user: user, groups: findHierarchy(), hidden: d.cfg.HideCPU, found: hypervisor.Capabilities{}}
	if err := d.accelerate(ctx, p); err != nil {
		return nil, err
	}
	if err := d.interrogate(ctx, p); err != nil {
		return nil, err
	}
	d.findUEFI(ctx, p)
	p.found["cgroup"] = p.groups.String()
	p.found["user"] = d.cfg.User
	p.found["storage-daemon"] = d.daemonVersion(ctx)
	return p, nil
}

// accelerate finds the accelerator, the faster one first.
func (d *Driver) accelerate(ctx context.Context, p *platform) error {
	p.found[kvm] = "no: not asked for"
	if d.cfg.Accel != tcg {
		err := d.tryAccelerator(ctx, kvm, p.user)
		if err == nil {
			p.found[kvm] = "yes"
			p.accelerated(kvm)
			return nil
		}
		if d.cfg.Accel == kvm || ctx.Err() != nil {
			return err
		}
		p.found[kvm] = "no: " + err.Error()
	}
	if err := d.tryAccelerator(ctx, tcg, p.user); err != nil {
		return err
	}
	p.accelerated(tcg)
	return nil
}

func (p *platform) accelerated(accel string) {
	p.accel, p.cpu = accel, cpuFor(accel)
	p.found["accelerator"], p.found["cpu"] = p.accel, p.cpu
}

// interrogate asks a QEMU that runs no guest.
func (d *Driver) interrogate(ctx context.Context, p *platform) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	here, there, err := socketPair()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, d.cfg.QEMU,
		"-machine", machineType+",accel="+p.accel, "-cpu", p.cpu, "-m", "32", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control")
	cmd.ExtraFiles = []*os.File{there}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user.credential(), Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	there.Close()
	if err != nil {
		here.Close()
		return droveway.Errorf(droveway.Internal, "run %s: %w", d.cfg.QEMU, err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	c, err := qmp.New(ctx, here)
	if err != nil {
		return err
	}
	defer c.Close()
	return p.ask(ctx, c)
}

// socketPair gives both ends of a connection, one to be handed to a child.
func socketPair() (here net.Conn, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, droveway.Errorf(droveway.Internal, "socket pair: %w", err)
	}
	mine, there := os.NewFile(uintptr(fds[0]), "monitor"), os.NewFile(uintptr(fds[1]), "monitor")
	defer mine.Close()
	if here, err = net.FileConn(mine); err != nil {
		there.Close()
		return nil, nil, droveway.Errorf(droveway.Internal, "socket pair: %w", err)
	}
	return here, there, nil
}

func (p *platform) ask(ctx context.Context, c *qmp.Client) error {
	p.version = c.Version()
	p.found["qemu"], p.found["machine"] = p.version.String(), machineType
	for _, ask := range []func(context.Context, *qmp.Client) error{p.askMigration, p.askReads, p.askFilled, p.askTLS, p.askAlone, p.askCPU, p.askModels} {
		if err := ask(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// askMigration finds out whether QEMU has what a move needs.
func (p *platform) askMigration(ctx context.Context, c *qmp.Client) error {
	var all []struct{ Capability string }
	if err := c.Execute(ctx, "query-migrate-capabilities", nil, &all); err != nil {
		return err
	}
	there := map[string]bool{}
	for _, m := range all {
		there[m.Capability] = true
		p.found["migrate."+m.Capability] = "yes"
	}
	p.found[hypervisor.CompressedCapability] = "yes"
	err := c.Execute(ctx, "migrate-set-parameters", object{"multifd-compression": compression}, nil)
	if qmp.Refused(err) {
		p.found[hypervisor.CompressedCapability], err = "no: "+err.Error(), nil
	}
	if err != nil {
		return err
	}
	p.found["migrate"] = "yes"
	for _, need := range []string{"pause-before-switchover", "late-block-activate", "return-path", "events"} {
		if !there[need] {
			p.found["migrate"] = "no: this QEMU has no " + need
		}
	}
	return nil
}

// askReads finds out whether a disk can be read from its local file first.
func (p *platform) askReads(ctx context.Context, c *qmp.Client) error {
	side := object{"driver": "null-co", "read-zeroes": true}
	err := c.Execute(ctx, "blockdev-add", both("both", side, side), nil)
	p.found[hypervisor.ReadLocalCapability] = "yes"
	if qmp.Refused(err) {
		p.found[hypervisor.ReadLocalCapability], err = "no: "+err.Error(), nil
	}
	return err
}

func (p *platform) askTLS(ctx context.Context, c *qmp.Client) error {
	var all []struct{ Name string }
	if err := c.Execute(ctx, "qom-list-types", object{"implements": "tls-creds"}, &all); err != nil {
		return err
	}
	p.found["tls"] = "no: this QEMU has no tls-creds-x509"
	for _, t := range all {
		if t.Name == "tls-creds-x509" {
			p.found["tls"] = "yes"
		}
	}
	return nil
}

// askAlone finds out whether a card can have a network of its own.
func (p *platform) askAlone(ctx context.Context, c *qmp.Client) error {
	err := c.Execute(ctx, "netdev_add", object{"type": "user", "id": "probe", "restrict": true}, nil)
	p.found[hypervisor.AloneCapability] = "yes"
	if qmp.Refused(err) {
		p.found[hypervisor.AloneCapability], err = "no: "+err.Error(), nil
	}
	return err
}

// daemonVersion tells whether disks can be served.
func (d *Driver) daemonVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, d.cfg.StorageDaemon, "--version").Output()
	if err != nil {
		return "no: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	fields := strings.Fields(line)
	for i, f := range fields {
		if f == "version" && i+1 < len(fields) {
			return fields[i+1]
		}
	}
	return line
}
