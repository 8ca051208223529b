//go:build lab

package appliance

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/image/repair"
)

// foreign is the disk of a Debian 12 as it comes from VMware.
func foreign(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("../../../scripts/build-debian-image", "--foreign")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the image: %v", err)
	}
	return strings.TrimSpace(string(out))
}

const mac = "52:54:00:12:34:56"

// boot starts a machine with a disk, and gives what its console said when it has said
// all of the words, or ended in the shell of its initramfs.
func boot(ctx context.Context, t *testing.T, overlay string, words ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
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
		if said += string(b); b != ' ' && b != '\n' {
			continue
		}
		missing := slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(said, w) })
		if !missing || strings.HasSuffix(said, shell) {
			return said
		}
	}
}

// shell is the prompt where an initramfs ends that finds no root.
const shell = "(initramfs) "

// TestForeign boots a disk of VMware's before and after its repair. SYSTEMS 5.5, 5.6,
// 5.7, 5.9
func TestForeign(t *testing.T) {
	disk := foreign(t)
	before := make(chan string, 1)
	go func() { // it waits half a minute for its root
		overlay := filepath.Join(t.TempDir(), "before.qcow2")
		tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay)
		before <- boot(t.Context(), t, overlay, "login: ")
	}()
	hashed := hash(t, disk)
	report, plan := planFor(t, disk)
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	began := time.Now()
	result, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, MACs: []string{mac}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("repaired in %s: %+v", time.Since(began), result)
	changed := map[string]Change{}
	for _, c := range result.Changes {
		changed[c.Path] = c
	}
	kernel := report.System.Kernels[0]
	for _, path := range []string{"/etc/fstab", "/boot/grub/grub.cfg", "/etc/default/grub", "/etc/initramfs-tools/modules", kernel.Initramfs} {
		if c := changed[path]; c.Backup != path+repair.Beside || c.Before == "" || c.After == "" || c.Before == c.After {
			t.Errorf("%s: %+v", path, c)
		}
	}
	if result.Log != "" {
		t.Errorf("programs of the guest ran: %s", result.Log)
	}
	if hash(t, disk) != hashed {
		t.Error("the image was changed")
	}
	console := boot(t.Context(), t, overlay, "login: ", "address: ")
	if !strings.Contains(console, "ens192    inet 192.0.2.10/24") || strings.Contains(console, "vmtoolsd runs") || strings.HasSuffix(console, shell) {
		t.Errorf("after its repair it says\n%s", console)
	}
	if console := <-before; !strings.HasSuffix(console, shell) {
		t.Errorf("before its repair it says\n%s", console)
	}
}
