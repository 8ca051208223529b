//go:build lab

package intake

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

// likeWindows10 makes a disk of NTFS alone that is taken for a Windows 10.
func likeWindows10(t *testing.T, hibernated bool) string {
	t.Helper()
	type keys = map[string]registrytest.Key
	disk, at := filepath.Join(t.TempDir(), "disk.raw"), t.TempDir()
	disktest.Tool(t, "truncate", "-s", "24M", disk)
	disktest.Tool(t, "mkntfs", "-q", "-F", disk)
	disktest.Tool(t, "ntfs-3g", disk, at)
	files := map[string]string{
		"bootmgr": "MZ", "Windows/System32/ntoskrnl.exe": "MZ",
		"Windows/System32/config/SOFTWARE": string(registrytest.Hive(registrytest.Key{Keys: keys{"Microsoft": {Keys: keys{"Windows NT": {Keys: keys{"CurrentVersion": {Values: map[string]any{
			"ProductName": "Windows 10 Pro", "CurrentBuildNumber": "19045", "CurrentVersion": "6.3", "InstallationType": "Client",
		}}}}}}}})),
		"Windows/System32/config/SYSTEM": string(registrytest.Hive(registrytest.Key{Keys: keys{
			"DriverDatabase": {},
			"ControlSet001": {Keys: keys{
				"Control":  {Keys: keys{"Session Manager": {Keys: keys{"Environment": {Values: map[string]any{"PROCESSOR_ARCHITECTURE": "AMD64"}}}}}},
				"Services": {},
			}},
		}})),
	}
	if hibernated {
		files["hiberfil.sys"] = "hibr" + strings.Repeat("\x00", 8192)
	}
	disktest.Tree(t, at, files)
	disktest.Tool(t, "umount", at)
	return disk
}

// TestImportWindows imports a disc of drivers, and with it a Windows. One without them,
// and one that is hibernated, is refused with the way out, and leaves nothing. SYSTEMS
// 5.8, 5.9
func TestImportWindows(t *testing.T) {
	w := newWorld(t, startStore(t))
	w.equip(t)
	discs, root := t.TempDir(), t.TempDir()
	disktest.Tree(t, root, map[string]string{
		"viostor/w10/amd64/viostor.sys": "MZ", "viostor/w10/amd64/viostor.inf": "[Version]", "vioscsi/w10/amd64/vioscsi.sys": "MZ", "NetKVM/w10/amd64/netkvm.sys": "MZ",
	})
	iso := filepath.Join(discs, "virtio-win.iso")
	disktest.Tool(t, "genisoimage", "-quiet", "-J", "-o", iso, root)
	disk := likeWindows10(t, false)
	before := fileHash(t, disk)
	j, _ := w.imports(t, disk, Request{Check: droveway.CheckNone})
	expectRefusal(t, "no drivers", j, "INACCESSIBLE_BOOT_DEVICE", "--virtio-win", "--repair none")
	j, _ = w.imports(t, disk, Request{VirtioWin: "virtio-win"})
	expectRefusal(t, "a disc that is not there", j, "import the disc first")
	w.wantNothing(t)
	w.importDisc(t, iso)
	j, res := w.imports(t, disk, Request{Check: droveway.CheckNone, VirtioWin: "virtio-win"})
	if j.State != droveway.JobSucceeded {
		t.Fatalf("the job %s: %s", j.State, j.Error)
	}
	changed := map[string]bool{}
	for _, c := range res.Changes {
		changed[c.Path] = true
	}
	for _, path := range []string{"/Windows/System32/drivers/viostor.sys", "/Windows/Drivers/VirtIO/viostor.inf", "/Windows/System32/config/SYSTEM", "/Windows/System32/config/SOFTWARE"} {
		if !changed[path] {
			t.Errorf("%s is not among %+v", path, res.Changes)
		}
	}
	if img := w.wantImage(t, "a", nil); img.System.Family != windows || img.Source.SHA256 != before || fileHash(t, disk) != before {
		t.Errorf("image %+v", img)
	}
	must(t, w.cfg.Library.Remove("a"))
	must(t, w.cfg.Fleet.Images.Delete(t.Context(), "a"))
	j, _ = w.imports(t, likeWindows10(t, true), Request{Check: droveway.CheckNone, VirtioWin: "virtio-win"})
	expectRefusal(t, "hibernated", j, "hiberfil.sys", "powercfg /h off", "shutdown /s /t 0")
	shop := w.furnish()
	shop.idle = true
	j, _ = w.imports(t, disk, Request{Check: droveway.CheckNone, VirtioWin: "virtio-win"})
	expectRefusal(t, "a repair that brought nothing", j, "after its repair it still needs one", "put the driver viostor in place")
	if shop.repaired != 1 {
		t.Errorf("it was tried %d times", shop.repaired)
	}
}

// importDisc imports a disc as the image virtio-win.
func (w *world) importDisc(t *testing.T, path string) {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	defer s.Close()
	if j := w.begin(t, Request{Name: "virtio-win", Link: s.URL + "/" + filepath.Base(path)}).do(t, t.Context()); j.State != droveway.JobSucceeded {
		t.Fatalf("the disc: the job %s: %s", j.State, j.Error)
	}
}

func fileHash(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return sum(b)
}

func expectRefusal(t *testing.T, name string, j droveway.Job, words ...string) {
	t.Helper()
	for _, word := range words {
		if j.State != droveway.JobFailed || !strings.Contains(j.Error, word) {
			t.Errorf("%s: the job %s: %s", name, j.State, j.Error)
		}
	}
}
