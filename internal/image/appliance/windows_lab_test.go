//go:build lab

package appliance

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
	"github.com/droveway/droveway/internal/image/repair"
)

// Where the partitions of a Windows disk are, in MiB.
const (
	winEFIAt, winEFISize = 1, 34
	winAt, winSize       = 35, 40
)

// regFile are the parts of the registry that hivexregedit adds: its hives are not ours.
const regFile = `Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion]
"DevicePath"=hex(2):25,00,53,00,79,00,73,00,74,00,65,00,6d,00,52,00,6f,00,6f,00,74,00,25,00,5c,00,69,00,6e,00,66,00,00,00
`

// windowsHives are those of a Windows Server 2022 that comes from VMware.
func windowsHives() map[string]string {
	type keys = map[string]registrytest.Key
	return map[string]string{
		"SOFTWARE": string(registrytest.Hive(registrytest.Key{Keys: keys{"Microsoft": {Keys: keys{"Windows NT": {Keys: keys{"CurrentVersion": {Values: map[string]any{
			"ProductName": "Windows Server 2022 Standard", "CurrentBuildNumber": "20348", "CurrentVersion": "6.3", "InstallationType": "Server",
		}}}}}}}})),
		"SYSTEM": string(registrytest.Hive(registrytest.Key{Keys: keys{
			"Select":         {Values: map[string]any{"Current": uint32(1)}},
			"DriverDatabase": {Keys: keys{"DeviceIds": {}}},
			"ControlSet001": {Keys: keys{
				"Control":  {Keys: keys{"Session Manager": {Keys: keys{"Environment": {Values: map[string]any{"PROCESSOR_ARCHITECTURE": "AMD64"}}}}}},
				"Services": {Keys: keys{"VMTools": {Values: map[string]any{"Start": uint32(2)}}}},
			}},
		}})),
	}
}

// onNTFS does something with that partition mounted by ntfs-3g.
func onNTFS(t *testing.T, disk, options string, do func(at string)) {
	t.Helper()
	disktest.WithPart(t, disk, winAt, winSize, func(dev string) {
		at := t.TempDir()
		disktest.Tool(t, "ntfs-3g", "-o", options, dev, at)
		defer disktest.Tool(t, "umount", at)
		do(at)
	})
}

// The rights that SYSTEM has, and that files in the folder of drivers inherit: both for
// administrators alone, the latter handed on.
const (
	systemRights = "0100048014000000240000000000000034000000" + administrators + administrators + "02001c0001000000" + "00001400ff011f00" + "010100000000000512000000"
	folderRights = "0100048014000000240000000000000034000000" + administrators + administrators + "02001c0001000000" + "00031400ff011f00" + "010100000000000512000000"
	// administrators is S-1-5-32-544.
	administrators = "01020000000000052000000020020000"
)

// windowsDisk makes a disk as a Windows has it, spelled as an old one does.
func windowsDisk(t *testing.T) string {
	t.Helper()
	disk, efi := filepath.Join(t.TempDir(), "disk.raw"), filepath.Join(t.TempDir(), "efi")
	disktest.Tool(t, "truncate", "-s", "76M", disk)
	disktest.Tool(t, "sh", "-c", fmt.Sprintf("printf 'label: gpt\nstart=%dMiB, size=%dMiB, type=U\nstart=%dMiB, size=%dMiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n' | sfdisk -q %s", winEFIAt, winEFISize, winAt, winSize, disk))
	disktest.Tool(t, "mkfs.vfat", "-C", efi, fmt.Sprint(winEFISize<<10))
	disktest.Tool(t, "mmd", "-i", efi, "::/EFI", "::/EFI/Microsoft", "::/EFI/Microsoft/Boot")
	disktest.Tool(t, "mcopy", "-i", efi, "/etc/hostname", "::/EFI/Microsoft/Boot/bootmgfw.efi")
	disktest.Tool(t, "dd", "if="+efi, "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", winEFIAt), "conv=notrunc", "status=none")
	disktest.WithPart(t, disk, winAt, winSize, func(dev string) { disktest.Tool(t, "mkntfs", "-q", "-F", "-c", "4096", dev) })
	onNTFS(t, disk, "rw", func(at string) {
		config := "WINDOWS/system32/config/"
		files := map[string]string{"bootmgr": "MZ", "WINDOWS/system32/ntoskrnl.exe": "MZ", "WINDOWS/system32/DRIVERS/disk.sys": "MZ", config + "SYSTEM.LOG1": ""}
		for name, b := range windowsHives() {
			files[config+name] = b
		}
		disktest.Tree(t, at, files)
		reg := filepath.Join(t.TempDir(), "x.reg")
		disktest.Tree(t, filepath.Dir(reg), map[string]string{"x.reg": regFile})
		disktest.Tool(t, "hivexregedit", "--merge", "--prefix", `HKEY_LOCAL_MACHINE\SOFTWARE`, filepath.Join(at, config, "SOFTWARE"), reg)
		setRights(t, filepath.Join(at, config, "SYSTEM"), systemRights)
		setRights(t, filepath.Join(at, "WINDOWS/system32/DRIVERS"), folderRights)
	})
	return disk
}

// driverDisc makes a disc as the project virtio-win does.
func driverDisc(t *testing.T) *repair.VirtioWin {
	t.Helper()
	root, iso := t.TempDir(), filepath.Join(t.TempDir(), "virtio-win.iso")
	files := map[string]string{}
	for _, d := range []string{"viostor/2k22/amd64/viostor", "viostor/w10/x86/viostor", "vioscsi/2k22/amd64/vioscsi", "NetKVM/2k22/amd64/netkvm"} {
		for _, ext := range []string{".sys", ".inf", ".cat", ".pdb"} {
			files[d+ext] = strings.Repeat(d+ext+"\n", 1000)
		}
	}
	files["NetKVM/2k22/amd64/netkvmco.exe"] = "MZ"
	disktest.Tree(t, root, files)
	disktest.Tool(t, "genisoimage", "-quiet", "-R", "-J", "-V", "virtio-win-test", "-o", iso, root)
	image, err := format.Open(iso)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { image.Close() })
	disc, err := repair.OpenVirtioWin(image, image.Size)
	if err != nil {
		t.Fatal(err)
	}
	return disc
}

// exported is what hivexregedit reads below a key.
func exported(t *testing.T, hive, key string) string {
	t.Helper()
	return strings.ReplaceAll(disktest.Tool(t, "hivexregedit", "--export", "--prefix", `HKEY_LOCAL_MACHINE\X`, hive, key), "\r", "")
}

func setRights(t *testing.T, file, to string) {
	t.Helper()
	b, err := hex.DecodeString(to)
	if err == nil {
		err = unix.Setxattr(file, "system.ntfs_acl", b, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rights are those that Windows sees of a file.
func rights(t *testing.T, file string) string {
	t.Helper()
	b := make([]byte, 4096)
	n, err := unix.Getxattr(file, "system.ntfs_acl", b)
	if err != nil {
		t.Errorf("rights of %s: %v", file, err)
		return ""
	}
	return fmt.Sprintf("%x", b[:n])
}

// TestWindows puts drivers into a Windows: other programs read the files and the
// registry, what was there is beside, and the image is as it was. Killed halfway it
// leaves nothing. SYSTEMS 5.6, 5.9
func TestWindows(t *testing.T) {
	disk, disc := windowsDisk(t), driverDisc(t)
	before := hash(t, disk)
	report, plan := planWith(t, disk, repair.Options{VirtioWin: disc})
	if report.OS.ID != "win2k22" || plan.Blocked() || !plan.Needed() {
		t.Fatalf("%s: %+v", report.OS.ID, plan.Findings)
	}
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay.qcow2")
	request := Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, Drivers: disc}
	killed := request
	ctx, kill := context.WithCancelCause(t.Context())
	killed.Progress = func(step string, _, _ int) {
		if step == "driver" {
			kill(errors.New("killed by the test"))
		}
	}
	if _, err := testAppliance(t).Repair(ctx, killed); err == nil || !strings.Contains(err.Error(), "killed by the test") {
		t.Errorf("killed: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	result, err := testAppliance(t).Repair(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if hash(t, disk) != before {
		t.Error("the image was changed")
	}
	raw := filepath.Join(t.TempDir(), "raw")
	disktest.Tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	onNTFS(t, raw, "ro", func(at string) { windowsAfter(t, at, disc, result) })
	if _, again := planWith(t, raw, repair.Options{}); again.Blocked() || again.Needed() {
		t.Errorf("after its repair: %+v", again)
	}
}

// windowsAfter looks at a Windows that was repaired.
func windowsAfter(t *testing.T, at string, disc *repair.VirtioWin, result *Result) {
	t.Helper()
	root := filepath.Join(at, "WINDOWS")
	for to, from := range map[string]string{
		"system32/DRIVERS/viostor.sys": "viostor/2k22/amd64/viostor.sys", "system32/DRIVERS/vioscsi.sys": "vioscsi/2k22/amd64/vioscsi.sys", "system32/DRIVERS/netkvm.sys": "NetKVM/2k22/amd64/netkvm.sys",
		"Drivers/VirtIO/viostor.inf": "viostor/2k22/amd64/viostor.inf", "Drivers/VirtIO/netkvm.cat": "NetKVM/2k22/amd64/netkvm.cat", "Drivers/VirtIO/netkvmco.exe": "NetKVM/2k22/amd64/netkvmco.exe",
	} {
		want, err := disc.Read(from)
		got, err2 := os.ReadFile(filepath.Join(root, to))
		if err != nil || err2 != nil || string(got) != string(want) {
			t.Errorf("%s: %d bytes, want %d (%v, %v)", to, len(got), len(want), err, err2)
		}
	}
	config := filepath.Join(root, "system32/config")
	for hive, wants := range map[string]map[string][]string{
		"SYSTEM": {
			`ControlSet001\Services`: {`\viostor]` + "\n", `"Start"=dword:00000000`, `\VMTools]` + "\n\"Start\"=dword:00000004", `\vioscsi\Parameters\PnpInterface]` + "\n\"5\"=dword:00000001"},
			"DriverDatabase":         {`\DeviceIds\PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01]` + "\n\"droveway_viostor.inf\"=hex(3):01,ff,00,00"},
		},
		// …%SystemRoot%\inf;%SystemRoot%\Drivers\VirtIO
		"SOFTWARE": {`Microsoft\Windows\CurrentVersion`: {`5c,00,69,00,6e,00,66,00,3b,00,25,00,53,00`, `\RunOnce]` + "\n\"DrovewayVirtIO\"="}},
	} {
		for key, words := range wants {
			text := exported(t, filepath.Join(config, hive), key)
			for _, w := range words {
				if !strings.Contains(text, w) {
					t.Errorf("hivexregedit does not find %s in\n%s", w, text)
				}
			}
		}
		i := slices.IndexFunc(result.Changes, func(c Change) bool { return strings.HasSuffix(c.Path, "/"+hive) })
		if i < 0 || result.Changes[i].Backup != repair.Kept("/WINDOWS/system32/config/"+hive) || result.Changes[i].Before != hash(t, filepath.Join(config, repair.Kept(hive))) {
			t.Errorf("%s: %+v", hive, result.Changes)
		}
	}
	if got := rights(t, filepath.Join(config, "SYSTEM")); got != systemRights {
		t.Errorf("rights of SYSTEM are %s", got)
	}
	// What is handed on, and no more: no right for everybody (S-1-1-0).
	if got := rights(t, filepath.Join(root, "system32/DRIVERS/viostor.sys")); !strings.Contains(got, "ff011f00"+"010100000000000512000000") || strings.Contains(got, "010100000000000100000000") {
		t.Errorf("rights of a driver are %s", got)
	}
	all, err := filepath.Glob(filepath.Join(at, "*"))
	if err != nil || len(all) != 2 { // bootmgr, WINDOWS
		t.Errorf("%v (%v)", all, err)
	}
}

// cutOff writes into the log of a file system that Windows is using it.
func cutOff(t *testing.T, disk string) {
	t.Helper()
	page := make([]byte, 4096)
	copy(page, "RSTR\x1e\x00\x09\x00")                                                  // with the ends of its sectors at 30
	copy(page[16:], "\x00\x10\x00\x00\x00\x10\x00\x00\x30\x00\x01\x00\x01\x00\x07\x00") // pages, where the rest is, version 1.1
	for end := 512; end <= len(page); end += 512 {
		copy(page[end-2:], "\x07\x00")
	}
	// One client, the first one in use, and no mark that it is clean.
	copy(page[48:], "\x09\x00\x00\x00\x00\x00\x00\x00\x01\x00\xff\xff\x00\x00\x00\x00\x2d\x00\x00\x00\xd0\x00\x30\x00")
	copy(page[48+36:], "\x30\x00\x40\x00")
	copy(page[48+48:], "\x09\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff")
	copy(page[48+48+28:], "\x08\x00\x00\x00N\x00T\x00F\x00S\x00")
	disktest.WithPart(t, disk, winAt, winSize, func(dev string) {
		log := filepath.Join(t.TempDir(), "log")
		b := []byte(disktest.Tool(t, "ntfscat", "-i", "2", dev))
		size := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
		copy(page[48+24:], size)
		copy(b, page)
		copy(b[4096:], page)
		if err := os.WriteFile(log, b, 0o600); err != nil {
			t.Fatal(err)
		}
		disktest.Tool(t, "ntfscp", "-q", "-f", "-i", dev, log, "2")
	})
}

// TestWindowsStates refuses what Windows has not let go of, where ntfs-3g does, too.
// SYSTEMS 5.8
func TestWindowsStates(t *testing.T) {
	clean, disc := windowsDisk(t), driverDisc(t)
	for _, k := range []struct {
		name   string
		change func(t *testing.T, disk string)
		probe  int // what ntfs-3g.probe ends with
		words  []string
	}{
		{"hibernated", func(t *testing.T, disk string) {
			onNTFS(t, disk, "rw", func(at string) {
				disktest.Tree(t, at, map[string]string{"hiberfil.sys": "HIBR" + strings.Repeat("\x00", 8192)})
			})
		}, 14, []string{"hiberfil.sys", "powercfg /h off", "shutdown /s /t 0"}},
		{"cut off", cutOff, 15, []string{"cut off", "chkdsk", "powercfg /h off", "shutdown /s /t 0"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.raw")
			disktest.Tool(t, "cp", clean, disk)
			k.change(t, disk)
			report, plan := planWith(t, disk, repair.Options{VirtioWin: disc})
			overlay := filepath.Join(t.TempDir(), "overlay")
			_, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, Drivers: disc})
			for _, w := range k.words {
				if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not said in %v", w, err)
				}
			}
			ignored := *plan
			ignored.Findings = nil
			_, err = testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: &ignored, Report: report, Drivers: disc})
			if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "step mount") || !strings.Contains(err.Error(), "chkdsk /f") {
				t.Errorf("where nobody has looked: %v", err)
			}
			var exit *exec.ExitError
			if out, err := exec.Command("ntfs-3g.probe", "--readwrite", disktest.Part(t, disk, winAt, winSize)).CombinedOutput(); !errors.As(err, &exit) || exit.ExitCode() != k.probe {
				t.Errorf("ntfs-3g.probe: %v: %s", err, out)
			}
		})
	}
}
