package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/disk"
)

const disksDir = "disks"

func (p plan) disk(host string) disk.Disk {
	return disk.Disk{Image: filepath.Join(p.path(disksDir), host), Path: p.path(host)}
}

// mountDisks gives each host a file system of its own for its data.
func (l *Lab) mountDisks(ctx context.Context) error {
	if l.plan.DiskMiB == 0 {
		return nil
	}
	if err := os.MkdirAll(l.plan.path(disksDir), 0o755); err != nil {
		return err
	}
	for _, h := range l.plan.Hosts {
		if err := l.mountDisk(ctx, h.Name); err != nil {
			return fmt.Errorf("disk of %s: %w", h.Name, err)
		}
	}
	return nil
}

func (l *Lab) mountDisk(ctx context.Context, host string) error {
	d := l.plan.disk(host)
	front, err := d.Prepare(l.plan.DiskMiB)
	if err != nil {
		return err
	}
	p, err := l.plan.serveDisk(host, d.Image, front)
	if err != nil {
		return err
	}
	if err := l.await(ctx, p, "serve its file", func(context.Context) bool { return d.Served() }); err != nil {
		return err
	}
	return d.Mount(ctx)
}

// serveDisk starts the process that answers for a disk. It is none of the disk's
// users, so that all of them can be killed in any order.
func (p plan) serveDisk(host, image, front string) (process, error) {
	role := host + "-disk"
	for _, dir := range []string{"logs", "run"} {
		if err := os.MkdirAll(p.path(dir), 0o755); err != nil {
			return process{}, err
		}
	}
	log, err := os.OpenFile(logFile(p.Dir, role), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd := exec.Command(p.Binary, "lab", "disk", image, front)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), labVariable+"="+p.ID)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	go cmd.Wait() // reaps it; how it ended stands in its log
	return p.note(role, cmd.Process.Pid)
}

// ServeDisk is that process.
func ServeDisk(image, front string) error { return disk.Serve(image, front) }

// FillDisk leaves no free block on a host's disk, until EmptyDisk.
func (l *Lab) FillDisk(host string) error {
	return l.onDisk(host, disk.Disk.Fill)
}

// EmptyDisk takes back what FillDisk did.
func (l *Lab) EmptyDisk(host string) error {
	return l.onDisk(host, disk.Disk.Empty)
}

// SpoilFile makes what is now in a file of a host unreadable, until HealDisk:
// reads end with an I/O error, writes succeed.
func (l *Lab) SpoilFile(host, path string) error {
	return l.onDisk(host, func(d disk.Disk) error { return d.Spoil(path) })
}

// HealDisk makes everything on a host's disk readable again.
func (l *Lab) HealDisk(host string) error {
	return l.onDisk(host, disk.Disk.Heal)
}

func (l *Lab) onDisk(host string, do func(disk.Disk) error) error {
	if l.plan.DiskMiB == 0 {
		return droveway.Errorf(droveway.Conflict, "the hosts of the lab have no disks of their own: give Config.DiskMiB")
	}
	if _, err := l.plan.host(host); err != nil {
		return err
	}
	if err := do(l.plan.disk(host)); err != nil {
		return fmt.Errorf("disk of %s: %w", host, err)
	}
	return nil
}
