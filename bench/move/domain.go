package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/network"
)

// domain moves by virsh migrate.
type domain struct {
	*bed
	trial
	flags          []string // beside those that every way of virsh has
	guest          *plain
	source, target *daemon
	lifecycle      *listener
}

func (d *domain) boot(ctx context.Context) (disk string, err error) {
	if err := d.ensureLibvirt(ctx); err != nil {
		return "", err
	}
	if d.guest, err = d.plainGuest(ctx, d.DiskMiB); err != nil {
		return "", err
	}
	d.source, d.target = d.libvirt[d.guest.at.name], d.libvirt[d.guest.to.name]
	if err := d.prepare(ctx, d.guest); err != nil {
		return "", err
	}
	if err := d.define(ctx); err != nil {
		return "", err
	}
	if d.lifecycle, err = d.target.listen(ctx); err != nil {
		return "", err
	}
	_, err = d.source.virsh(ctx, "start", plainName)
	return d.guest.disk(d.guest.at), err
}

// define tells both hosts of the machine.
func (d *domain) define(ctx context.Context) error {
	definition := filepath.Join(d.dir, "domain.xml")
	if err := os.WriteFile(definition, []byte(d.xml()), 0o644); err != nil {
		return fmt.Errorf("define the domain: %w", err)
	}
	for _, host := range []*daemon{d.source, d.target} {
		if _, err := host.virsh(ctx, "define", definition); err != nil {
			return err
		}
	}
	return nil
}

func (d *domain) watch() *scene.Watch { return d.guest.watch }

// xml is the machine as libvirt wants it, with the devices that Droveway gives
// its own.
func (d *domain) xml() string {
	kind, cpu := "qemu", "maximum"
	if d.setting.Accelerator == "kvm" {
		kind, cpu = "kvm", "host-passthrough"
	}
	return fmt.Sprintf(`<domain type='%s'>
  <name>%s</name>
  <uuid>0d0e0a00-0000-4000-8000-0000000000be</uuid>
  <memory unit='KiB'>%d</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='%s'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='%s'/>
  <clock offset='utc'/>
  <on_reboot>destroy</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' discard='unmap' error_policy='stop' rerror_policy='stop'/>
      <source file='%s'/><target dev='vda' bus='virtio'/><boot order='1'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='%s/%s'/><target dev='vdb' bus='virtio'/><readonly/>
    </disk>
    <interface type='bridge'>
      <source bridge='%s'/><mac address='%s'/><model type='virtio'/>
    </interface>
    <serial type='file'><source path='%s/console.log'/></serial>
    <rng model='virtio'><backend model='builtin'/></rng>
    <memballoon model='none'/>
    <controller type='usb' model='none'/>
  </devices>
</domain>
`, kind, plainName, d.memoryKiB(), machineType, cpu, d.guest.disk(site{dir: imagesDir}), imagesDir, seedFile,
		network.BridgeName(d.network.VNI), plainMAC, imagesDir)
}

func (d *domain) move(ctx context.Context) (moved, error) {
	m := moved{sync: none()}
	to := d.guest.to
	args := []string{
		"migrate", "--live", "--copy-storage-all", "--tls", "--tls-destination", to.name,
		"--migrateuri", "tcp://" + to.address.String(), "--domain", plainName, "--desturi", d.target.uri(),
	}
	if _, err := d.source.virsh(ctx, append(args, d.flags...)...); err != nil {
		return m, err
	}
	var err error
	if m.running, err = resumed(d.lifecycle.end()); err != nil {
		return m, err
	}
	info, err := d.target.virsh(ctx, "domjobinfo", plainName, "--completed")
	if err != nil {
		return m, err
	}
	m.downtime, err = totalDowntime(info)
	return m, err
}

func (d *domain) check(ctx context.Context) (check.Result, error) {
	d.lifecycle.end()
	if _, err := d.target.virsh(ctx, "destroy", plainName); err != nil {
		return check.Result{}, err
	}
	return d.guest.check(ctx)
}

func (d *domain) forget(ctx context.Context) (err error) {
	if d.lifecycle != nil {
		d.lifecycle.end()
	}
	if d.guest == nil {
		return nil
	}
	for _, host := range []*daemon{d.source, d.target} {
		_, failed := host.virsh(ctx, "destroy", plainName)
		if failed != nil && !strings.Contains(failed.Error(), "failed to get domain") && !strings.Contains(failed.Error(), "domain is not running") {
			err = errors.Join(err, failed)
		}
	}
	return errors.Join(err, d.bed.forget(d.guest))
}

// listener is a virsh that notes the events of its host.
type listener struct {
	cmd  *exec.Cmd
	told strings.Builder
}

func (d *daemon) listen(ctx context.Context) (*listener, error) {
	l := &listener{cmd: d.command(ctx, "event", "--event", "lifecycle", "--loop", "--timestamp")}
	l.cmd.Stdout = &l.told
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("virsh event on %s: %w", d.site.name, err)
	}
	return l, nil
}

// end gives what was noted; virsh writes the last of it when it is interrupted.
func (l *listener) end() string {
	if l.cmd.ProcessState == nil {
		_ = l.cmd.Process.Signal(os.Interrupt)
		_ = l.cmd.Wait() // it ends with an error because it was interrupted
	}
	return l.told.String()
}

// resumedLine is what virsh event prints when a guest that came runs.
var resumedLine = regexp.MustCompile(`(?m)^([0-9-]+ [0-9:.]+\+0000): event 'lifecycle' for domain '?` + plainName + `'?: Resumed`)

// resumed finds when the guest ran, by the clock of this machine.
func resumed(told string) (time.Time, error) {
	found := resumedLine.FindStringSubmatch(told)
	if found == nil {
		return time.Time{}, droveway.Errorf(droveway.Internal, "virsh saw no guest begin to run on the target: %q", told)
	}
	return time.Parse("2006-01-02 15:04:05.999-0700", found[1])
}

var downtimeLine = regexp.MustCompile(`(?m)^Total downtime:\s+(\d+)\s+ms`)

// totalDowntime finds QEMU's own figure in what virsh domjobinfo prints.
func totalDowntime(info string) (figure, error) {
	found := downtimeLine.FindStringSubmatch(info)
	if found == nil {
		return 0, droveway.Errorf(droveway.Internal, "virsh domjobinfo tells no downtime: %q", info)
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	return figure(n), err
}
