package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/network"
)

// domain moves by virsh migrate.
type domain struct {
	*bed
	flags          []string // beside those that every way of virsh has
	source, target *daemon
	lifecycle      *listener
}

func (d *domain) boot(ctx context.Context, g guest) error {
	l, err := d.ensureLibvirt(ctx)
	if err != nil {
		return err
	}
	d.source, d.target = l.sites[d.from.name], l.sites[d.to.name]
	if err := d.ensureNetwork(ctx); err != nil {
		return err
	}
	for _, s := range []site{d.from, d.to} {
		if err := writeSeed(s.path("seed.iso"), g); err != nil {
			return err
		}
	}
	if err := copyDisk(g.image, d.from.path("disk.raw")); err != nil {
		return err
	}
	// It has to be there before; who uses virsh makes it with a volume tool.
	if err := blankDisk(d.to.path("disk.raw"), g.sizeMiB); err != nil {
		return err
	}
	if d.lifecycle, err = d.target.listen(ctx); err != nil {
		return err
	}
	definition := d.from.path("domain.xml")
	if err := os.WriteFile(definition, []byte(d.xml()), 0o644); err != nil {
		return fmt.Errorf("define the domain: %w", err)
	}
	_, err = d.source.virsh(ctx, "create", definition)
	return err
}

// xml is the machine as libvirt wants it, with the devices that Droveway gives
// its own.
func (d *domain) xml() string {
	kind, cpu := "qemu", "maximum"
	if d.setting.Accelerator == "kvm" {
		kind, cpu = "kvm", "host-passthrough"
	}
	return fmt.Sprintf(`<domain type='%s'>
  <name>%s</name>
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
      <source file='%s/disk.raw'/><target dev='vda' bus='virtio'/><boot order='1'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='%s/seed.iso'/><target dev='vdb' bus='virtio'/><readonly/>
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
`, kind, machineName, d.memoryKiB(), machineType, cpu, imagesDir, imagesDir, network.BridgeName(d.network.VNI), guestMAC, imagesDir)
}

func (d *domain) move(ctx context.Context) (moved, error) {
	var m moved
	args := []string{
		"migrate", "--live", "--copy-storage-all", "--tls", "--tls-destination", d.to.name,
		"--migrateuri", "tcp://" + d.to.address.String(), "--domain", machineName, "--desturi", d.target.uri(),
	}
	if _, err := d.source.virsh(ctx, append(args, d.flags...)...); err != nil {
		return m, err
	}
	var err error
	if m.running, err = resumed(d.lifecycle.end()); err != nil {
		return m, err
	}
	info, err := d.target.virsh(ctx, "domjobinfo", machineName, "--completed")
	if err != nil {
		return m, err
	}
	m.downtime, err = totalDowntime(info)
	return m, err
}

func (d *domain) halt(ctx context.Context) (string, error) {
	_, err := d.target.virsh(ctx, "destroy", machineName)
	return d.to.path("disk.raw"), err
}

func (d *domain) clear(ctx context.Context) error {
	if d.lifecycle != nil {
		d.lifecycle.end()
	}
	var failed error
	for _, host := range []*daemon{d.source, d.target} {
		if host == nil {
			continue
		}
		_, err := host.virsh(ctx, "destroy", machineName)
		if err != nil && !strings.Contains(err.Error(), "failed to get domain") {
			failed = errors.Join(failed, err)
		}
	}
	return errors.Join(failed, d.from.empty(), d.to.empty())
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
var resumedLine = regexp.MustCompile(`(?m)^([0-9-]+ [0-9:.]+\+0000): event 'lifecycle' for domain '?` + machineName + `'?: Resumed`)

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
func totalDowntime(info string) (time.Duration, error) {
	found := downtimeLine.FindStringSubmatch(info)
	if found == nil {
		return 0, droveway.Errorf(droveway.Internal, "virsh domjobinfo tells no downtime: %q", info)
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	return time.Duration(n) * time.Millisecond, err
}
