//go:build lab && repair

package intake

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// The boots of these take minutes where the processor is emulated, so they are not in
// what each change has to pass: make test-repair.

// foreign is a disk of another hypervisor.
func foreign(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../../scripts/build-debian-image", "--foreign").Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// TestImportRepairs imports a disk as it comes from elsewhere: as it is it does not
// boot, and is not published; repaired, it does. The source stays as it was. SYSTEMS
// 5.5, 5.9
func TestImportRepairs(t *testing.T) {
	js, path := startStore(t), foreign(t)
	w := newWorld(t, js)
	w.equip(t)
	before := fileHash(t, path)
	j, res := w.imports(t, path, Request{Repair: droveway.RepairNone, Check: droveway.CheckBoot})
	if j.State != droveway.JobFailed || res.Boot == nil || res.Boot.Sign != "initramfs-tools" {
		t.Errorf("as it is: the job %s: %s, %+v", j.State, j.Error, res.Boot)
	}
	w.wantNothing(t)
	j, res = w.imports(t, path, Request{MACs: []string{"52:54:00:b0:07:c4"}})
	if j.State != droveway.JobSucceeded || len(res.Changes) == 0 || res.Boot == nil || res.Boot.Verdict != droveway.BootOK {
		t.Errorf("repaired: the job %s: %s, %+v", j.State, j.Error, res)
	}
	img := w.wantImage(t, "a", nil)
	if img.Format != droveway.QCOW2 || img.Source.SHA256 != before || len(img.Changes) != len(res.Changes) {
		t.Errorf("image %+v", img)
	}
	if fileHash(t, path) != before {
		t.Error("the source has changed")
	}
}
