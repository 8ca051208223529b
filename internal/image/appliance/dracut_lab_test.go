//go:build lab && repair

package appliance

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/repair"
)

// TestForeignDracut boots a disk of VMware's whose initramfs dracut has made, before and
// after its repair. SYSTEMS 5.5, 5.6, 5.9
func TestForeignDracut(t *testing.T) {
	disk := foreign(t, "--foreign-dracut")
	hashed := hash(t, disk)
	found, plan := planFor(t, disk)
	kernel := found.System.Kernels[0]
	if kernel.InitramfsKind != "dracut" || kernel.Virtio.Block != "modules" {
		t.Fatalf("kernel %+v", kernel)
	}
	before := make(chan string, 1)
	go func() { // it waits for its root
		overlay := filepath.Join(t.TempDir(), "before.qcow2")
		disktest.Tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay)
		before <- boot(t.Context(), t, overlay, prompt)
	}()
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	result, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: found})
	if err != nil {
		t.Fatal(err)
	}
	changed := map[string]Change{}
	for _, c := range result.Changes {
		changed[c.Path] = c
	}
	if c := changed[kernel.Initramfs]; c.Backup != kernel.Initramfs+repair.Beside || c.Before == c.After {
		t.Errorf("the initramfs: %+v", c)
	}
	if changed["/etc/dracut.conf.d/droveway.conf"].After == "" || strings.Contains(result.Log, "$ dracut") {
		t.Errorf("changes %+v, log %s", result.Changes, result.Log)
	}
	if hash(t, disk) != hashed {
		t.Error("the image was changed")
	}
	if console := boot(t.Context(), t, overlay, prompt, "address: "); !strings.Contains(console, "ens192    inet 192.0.2.10/24") || !strings.Contains(console, prompt) {
		t.Errorf("after its repair it says\n%s", console)
	}
	if console := <-before; !strings.Contains(console, report) {
		t.Errorf("before its repair it says\n%s", console)
	}
}
