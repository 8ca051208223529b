package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

// daemon is the libvirtd of a host of the lab. Each has directories of its own
// where the machine's would be, and a name and number of its own, or two would
// take each other for one host.
type daemon struct {
	site  site
	dir   string // what it sees as its directories, and its socket
	ended chan struct{}
}

// The directories that a libvirtd uses, and what stands in for them.
var libvirtDirs = map[string]string{
	"/etc/libvirt": "etc", "/run/libvirt": "run", "/var/lib/libvirt": "lib", "/var/cache/libvirt": "cache", "/var/log/libvirt": "log",
}

const daemonTime = 30 * time.Second

// ensureLibvirt starts one on each host, the first time.
func (b *bed) ensureLibvirt(ctx context.Context) error {
	if b.libvirt != nil {
		return nil
	}
	daemons := map[string]*daemon{}
	for i, s := range b.hosts {
		d, err := b.startLibvirt(ctx, s, i)
		if err != nil {
			return fmt.Errorf("libvirtd on %s: %w", s.name, err)
		}
		daemons[s.name] = d
	}
	b.libvirt = daemons
	return nil
}

func (b *bed) startLibvirt(ctx context.Context, s site, number int) (*daemon, error) {
	d := &daemon{site: s, dir: filepath.Join(b.dir, "v"+fmt.Sprint(number)), ended: make(chan struct{})}
	if err := d.configure(number); err != nil {
		return nil, err
	}
	log, err := os.Create(d.path("libvirtd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Its life is that of the lab, not that of the trial.
	cmd := b.scene.Lab.Command(context.WithoutCancel(ctx), s.namespace, "unshare", "--mount", "--uts", "sh", "-ec", d.script())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(d.ended)
		_ = cmd.Wait() // how it ended stands in its log
	}()
	if err := d.await(ctx); err != nil {
		return nil, err
	}
	// It tries out QEMU when it is first asked, which must not fall into a move.
	_, err = d.virsh(ctx, "domcapabilities", "--machine", machineType)
	return d, err
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

// configure writes what libvirtd and its QEMU driver read. The certificates are
// those of Droveway's hosts, whose names QEMU gave them.
func (d *daemon) configure(number int) error {
	dirs := []string{"lib/images"}
	for _, stand := range libvirtDirs {
		dirs = append(dirs, stand)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(d.path(dir), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{
		"etc/libvirtd.conf": fmt.Sprintf(`auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_dir = "%s"
host_uuid = "0d0e0a00-0000-4000-8000-00000000000%d"
`, d.dir, number+1),
		"etc/qemu.conf": fmt.Sprintf(`user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migrate_tls_x509_cert_dir = "%s"
migrate_tls_x509_verify = 1
`, d.site.tls),
	}
	for name, text := range files {
		if err := os.WriteFile(d.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// script puts the directories in their places and becomes libvirtd.
func (d *daemon) script() string {
	var s strings.Builder
	fmt.Fprintf(&s, "hostname %s\n", d.site.name)
	for place, stand := range libvirtDirs {
		fmt.Fprintf(&s, "mkdir -p %s\nmount --bind %s %s\n", place, d.path(stand), place)
	}
	// Disks of the two hosts have the same path, as on two computers.
	fmt.Fprintf(&s, "mount --bind %s %s\n", d.site.dir, imagesDir)
	// The one of the machine shows the machine's links.
	s.WriteString("mount -t sysfs sysfs /sys\n")
	fmt.Fprintf(&s, "exec libvirtd --config /etc/libvirt/libvirtd.conf --pid-file %s\n", d.path("pid"))
	return s.String()
}

const imagesDir = "/var/lib/libvirt/images"

// await returns once libvirtd answers.
func (d *daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTime)
	defer cancel()
	for {
		_, err := d.virsh(ctx, "version")
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return droveway.Errorf(droveway.Unavailable, "it ended at its start: %s", d.words())
		case <-ctx.Done():
			return errors.Join(err, droveway.Errorf(droveway.Unavailable, "its log: %s", d.words()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *daemon) words() string {
	text, err := os.ReadFile(d.path("libvirtd.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func (d *daemon) uri() string { return "qemu+unix:///system?socket=" + d.path("libvirt-sock") }

func (d *daemon) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "virsh", append([]string{"--connect", d.uri()}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// virsh gives what virsh prints.
func (d *daemon) virsh(ctx context.Context, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := d.command(ctx, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("virsh %s on %s: %w: %s", args[0], d.site.name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
