//go:build lab

package appliance

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/repair"
)

// foreign is the disk of a Debian 12 as it comes from VMware: --foreign, or another of
// its kind.
func foreign(t *testing.T, kind string) string {
	t.Helper()
	cmd := exec.Command("../../../scripts/build-debian-image", kind)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the image: %v: %s", err, said.String())
	}
	return strings.TrimSpace(string(out))
}

const mac = "52:54:00:12:34:56"

// boot starts a machine with a disk, and gives what its console said when it has said
// all of the words, or ended in the shell of its initramfs.
func boot(ctx context.Context, t *testing.T, overlay string, words ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "512", "-no-reboot",
		"-drive", "if=virtio,format=qcow2,cache=unsafe,file="+overlay, "-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n,addr=0x14,romfile=,mac="+mac, "-serial", "stdio")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	var said string
	for r := bufio.NewReader(out); ; {
		b, err := r.ReadByte() // a prompt ends no line
		if err != nil {
			return said
		}
		said += string(b)
		if b != '\n' && !strings.HasSuffix(said, prompt) && !strings.HasSuffix(said, shell) {
			continue // a word may be the beginning of a line
		}
		if strings.Contains(said, report) {
			return said
		}
		missing := slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(said, w) })
		if !missing || strings.HasSuffix(said, shell) {
			return said
		}
	}
}

// The prompts of a system that has booted, and of an initramfs that finds no root.
const (
	prompt = "login: "
	shell  = "(initramfs) "
)

// report is what an initramfs of dracut says when it finds none.
const report = `Generating "/run/initramfs/rdsosreport.txt"`

// manner is one way to repair the disk.
type manner struct {
	name    string
	full    bool // with the guest's own programs
	macs    []string
	options repair.Options
	address string // after it
}

// manners are those that DROVEWAY_REPAIR=all asks for, or the usual one alone: the
// guest's programs take minutes where the processor is emulated.
func manners() []manner {
	all := []manner{
		{"files", false, nil, repair.Options{}, "192.0.2.10/24"},
		{"dhcp", false, []string{mac}, repair.Options{DHCP: true}, "10.0.2.15/24"},
		{"programs", true, []string{mac}, repair.Options{}, "192.0.2.10/24"},
	}
	if os.Getenv("DROVEWAY_REPAIR") != "all" {
		return all[:1]
	}
	return all
}

// TestForeign boots a disk of VMware's before and after its repair. SYSTEMS 5.5, 5.6,
// 5.7, 5.9
func TestForeign(t *testing.T) {
	disk := foreign(t, "--foreign")
	hashed := hash(t, disk)
	before := make(chan string, 1)
	go func() { // it waits half a minute for its root
		overlay := filepath.Join(t.TempDir(), "before.qcow2")
		disktest.Tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay)
		before <- boot(t.Context(), t, overlay, prompt)
	}()
	for _, m := range manners() {
		t.Run(m.name, func(t *testing.T) {
			overlay := repaired(t, disk, m)
			if hash(t, disk) != hashed {
				t.Error("the image was changed")
			}
			console := boot(t.Context(), t, overlay, prompt, "address: ")
			if !strings.Contains(console, "ens192    inet "+m.address) || strings.Contains(console, "vmtoolsd runs") || !strings.Contains(console, prompt) {
				t.Errorf("after its repair it says\n%s", console)
			}
		})
	}
	if console := <-before; !strings.HasSuffix(console, shell) {
		t.Errorf("before its repair it says\n%s", console)
	}
}

// repaired gives the overlay, and looks at what is said to have changed.
func repaired(t *testing.T, disk string, m manner) string {
	t.Helper()
	report, plan := planWith(t, disk, m.options)
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	began := time.Now()
	result, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, MACs: m.macs, Full: m.full})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("repaired in %s", time.Since(began))
	changed := map[string]Change{}
	for _, c := range result.Changes {
		changed[c.Path] = c
	}
	initrd := report.System.Kernels[0].Initramfs
	for _, path := range []string{"/etc/fstab", "/boot/grub/grub.cfg", "/etc/default/grub", "/etc/initramfs-tools/modules", initrd} {
		if c := changed[path]; c.Backup != path+repair.Beside || c.Before == "" || c.After == "" || c.Before == c.After {
			t.Errorf("%s: %+v", path, c)
		}
	}
	for _, program := range []string{"$ update-initramfs -u", "$ update-grub"} {
		if strings.Contains(result.Log, program) != m.full {
			t.Errorf("the log of %s says %s", m.name, result.Log)
		}
	}
	return overlay
}
