//go:build lab

package repair

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/registry"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

// likeness fills a folder with what makes a Windows Server 2022.
func likeness(t *testing.T, dir string) (system string) {
	t.Helper()
	config := filepath.Join(dir, "Windows", "System32", "config")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	type keys = map[string]registrytest.Key
	software := registrytest.Hive(registrytest.Key{Keys: keys{"Microsoft": {Keys: keys{"Windows NT": {Keys: keys{"CurrentVersion": {Values: map[string]any{
		"ProductName": "Windows Server 2022 Standard", "CurrentBuildNumber": "20348", "CurrentVersion": "6.3", "InstallationType": "Server",
	}}}}}}}})
	hive := registrytest.Hive(registrytest.Key{Keys: keys{
		"Select":         {Values: map[string]any{"Current": uint32(1)}},
		"DriverDatabase": {Keys: keys{"DeviceIds": {}}},
		"ControlSet001": {Keys: keys{
			"Control":  {Keys: keys{"Session Manager": {Keys: keys{"Environment": {Values: map[string]any{"PROCESSOR_ARCHITECTURE": "AMD64"}}}}}},
			"Services": {Keys: keys{"VMTools": {Values: map[string]any{"Start": uint32(2)}}}},
		}},
	}})
	for name, b := range map[string][]byte{"SOFTWARE": software, "SYSTEM": hive} {
		if err := os.WriteFile(filepath.Join(config, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{filepath.Join(config, "..", "ntoskrnl.exe"), filepath.Join(dir, "bootmgr")} {
		if err := os.WriteFile(name, []byte("MZ"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(config, "SYSTEM")
}

// change writes entries into a hive.
func change(hive string, entries []Entry) error {
	b, err := os.ReadFile(hive)
	if err != nil {
		return err
	}
	e, err := registry.Edit(b, time.Now())
	if err != nil {
		return err
	}
	if err := Write(e, entries); err != nil {
		return err
	}
	if b, err = e.Bytes(); err != nil {
		return err
	}
	return os.WriteFile(hive, b, 0o600)
}

// TestWindowsDisk plans for an NTFS disk like that of a Windows, carries out what
// the plan says of the registry, and plans again. Another program reads what was
// written.
func TestWindowsDisk(t *testing.T) {
	disk, at := filepath.Join(t.TempDir(), "disk.raw"), t.TempDir()
	disktest.Tool(t, "truncate", "-s", "32M", disk)
	disktest.Tool(t, "mkntfs", "-q", "-F", disk)
	disktest.Tool(t, "ntfs-3g", disk, at)
	system := likeness(t, at)
	disktest.Tool(t, "umount", at)
	planned := func() *Plan {
		t.Helper()
		b, err := os.ReadFile(disk)
		if err != nil {
			t.Fatal(err)
		}
		return planOf(t, b)
	}
	p := planned()
	expect(t, p, "blocker: Windows has no virtio driver that starts at boot")
	disktest.Tool(t, "ntfs-3g", disk, at)
	var entries []Entry
	for _, s := range p.Steps {
		entries = append(entries, s.Registry...)
	}
	if err := change(system, entries); err != nil {
		t.Error(err)
	}
	out := disktest.Tool(t, "hivexregedit", "--export", "--prefix", `HKEY_LOCAL_MACHINE\SYSTEM`, system, `ControlSet001\Services`) +
		disktest.Tool(t, "hivexregedit", "--export", "--prefix", `HKEY_LOCAL_MACHINE\SYSTEM`, system, "DriverDatabase")
	disktest.Tool(t, "umount", at)
	out = strings.ReplaceAll(out, "\r", "")
	for _, want := range []string{
		`\Services\VMTools]` + "\n\"Start\"=dword:00000004", `\Services\viostor]`, `\Services\vioscsi\Parameters\PnpInterface]` + "\n\"5\"=dword:00000001",
		`\DeviceIds\PCI\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01]` + "\n\"droveway_vioscsi.inf\"=hex(3):01,ff,00,00",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("hivexregedit does not find %s in\n%s", want, out)
		}
	}
	if p := planned(); p.Blocked() || p.named("driver").Name != "" {
		t.Errorf("after that: %+v", p)
	}
}

// TestCriticalDevices puts drivers into the registry of a Windows that is older than the
// driver database, as XP and 2003; another program reads what was written. SYSTEMS 5.6
func TestCriticalDevices(t *testing.T) {
	system := filepath.Join(t.TempDir(), "SYSTEM")
	if err := os.WriteFile(system, windowsHive(false), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	viostor := all.windows.Drivers[slices.IndexFunc(all.windows.Drivers, func(d Driver) bool { return d.Name == "viostor" })]
	if err := change(system, viostor.Entries(false)); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(disktest.Tool(t, "hivexregedit", "--export", "--unsafe-printable-strings", "--prefix", `HKEY_LOCAL_MACHINE\SYSTEM`, system, `ControlSet002`), "\r", "")
	for _, id := range viostor.Devices {
		_, values, found := strings.Cut(text, `\Control\CriticalDeviceDatabase\PCI#`+id+"]\n")
		values, _, _ = strings.Cut(values, "\n\n")
		for _, want := range []string{`"Service"=str(1):"viostor"`, `"ClassGUID"=str(1):"` + classSCSI + `"`} {
			if !found || !strings.Contains(values, want) {
				t.Errorf("%s: hivexregedit does not find %s in %q", id, want, values)
			}
		}
	}
	if strings.Contains(text, "DriverDatabase]") {
		t.Errorf("a driver database was made:\n%s", text)
	}
}
