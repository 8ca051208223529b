//go:build lab

package intake

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
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
	checker, err := bootcheck.New(bootcheck.Config{Driver: qemu.New(qemu.Config{User: "nobody"}), Dir: filepath.Join(w.dir, ".checks"), Images: w.dir, Log: log})
	must(t, err)
	w.cfg.Checker = checker
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
