//go:build lab

package intake

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/bootcheck"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// cached is what scripts and tests keep between runs.
func cached(t *testing.T, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	return filepath.Join(cache, "droveway", name)
}

// equip gives an intake a real appliance and a real boot check.
func (w *world) equip(t *testing.T) {
	t.Helper()
	must(t, errors.Join(os.Chmod(filepath.Dir(w.dir), 0o711), os.Chmod(w.dir, 0o711)))
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	checker, err := bootcheck.New(bootcheck.Config{Driver: qemu.New(qemu.Config{User: "nobody"}), Dir: filepath.Join(w.dir, ".checks"), Log: log})
	must(t, err)
	w.cfg.Checker, w.cfg.Work = checker, filepath.Join(w.dir, ".work")
	w.cfg.Repairer = appliance.New(appliance.Config{Kernel: cached(t, "kernel"), User: "nobody", Log: log})
}

// imports brings a file in, from a web server.
func (w *world) imports(t *testing.T, path string, r Request) (j droveway.Job, res droveway.ImportResult) {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	defer s.Close()
	r.Name, r.Link = "a", s.URL+"/"+filepath.Base(path)
	j = w.begin(t, r).do(t, t.Context())
	if len(j.Result) > 0 {
		must(t, json.Unmarshal(j.Result, &res))
	}
	if res.Boot != nil {
		t.Logf("%s: %s after %d ms:\n%s", res.Boot.Verdict, res.Boot.Reason, res.Boot.TookMS, res.Boot.Console)
	}
	return j, res
}

// TestImportBoots publishes an image that boots, and none that does not.
func TestImportBoots(t *testing.T) {
	path, err := tinyimage.Build(t.Context(), tinyimage.Config{Cache: cached(t, "images"), SizeMiB: tinyimage.MinSizeMiB, UEFI: true})
	must(t, err)
	tiny, err := os.ReadFile(path)
	must(t, err)
	w := newWorld(t, startStore(t))
	w.equip(t)
	j, res := w.imports(t, path, Request{Check: droveway.CheckBoot})
	if j.State != droveway.JobSucceeded || res.Boot == nil || res.Boot.Sign != "droveway-guest" {
		t.Fatalf("the job %s: %s, %+v", j.State, j.Error, res)
	}
	if img := w.wantImage(t, "a", tiny); img.Boot.Verdict != droveway.BootOK {
		t.Errorf("image %+v", img)
	}
	must(t, w.cfg.Library.Remove("a"))
	must(t, w.cfg.Fleet.Images.Delete(t.Context(), "a"))
	bad := filepath.Join(t.TempDir(), "bad")
	clear(tiny[1<<20 : 5<<20]) // of the boot partition
	must(t, os.WriteFile(bad, tiny, 0o600))
	j, res = w.imports(t, bad, Request{Check: droveway.CheckBoot})
	if j.State != droveway.JobFailed || res.Boot == nil || res.Boot.Sign != "no-disk-bios" || !strings.Contains(res.Boot.Console, "No bootable device") {
		t.Errorf("the job %s: %s, %+v", j.State, j.Error, res)
	}
	w.wantNothing(t)
}

// foreigners are disks of other hypervisors. Their boots take minutes where the
// processor is emulated: DROVEWAY_REPAIR=all asks for them.
func foreigners(t *testing.T) []string {
	t.Helper()
	if os.Getenv("DROVEWAY_REPAIR") != "all" {
		return nil
	}
	out, err := exec.Command("../../../scripts/build-debian-image", "--foreign").Output()
	must(t, err)
	return []string{strings.TrimSpace(string(out))}
}

// TestImportRepairs imports disks as they come from elsewhere: as they are they do not
// boot, and are not published; repaired, they do. The source stays as it was. SYSTEMS
// 5.5, 5.9
func TestImportRepairs(t *testing.T) {
	js := startStore(t)
	for _, path := range foreigners(t) {
		w := newWorld(t, js)
		w.equip(t)
		before := fileSum(t, path)
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
		if fileSum(t, path) != before {
			t.Error("the source has changed")
		}
	}
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return sum(b)
}
