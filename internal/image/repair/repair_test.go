package repair

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/registry"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

// planOf inspects an image and plans for it.
func planOf(t testing.TB, b []byte) *Plan {
	t.Helper()
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	i, err := format.New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var p *Plan
	_, err = inspect.Disk(context.Background(), i, inspect.Options{Catalog: c, Then: func(r *inspect.Report, tree *filesystem.Tree) (err error) {
		p, err = Make(r, tree)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plan plans for a system that has these files.
func plan(t testing.TB, r *inspect.Report, files map[string]string) *Plan {
	t.Helper()
	p, err := Make(r, filesystem.NewTree(filesystemtest.Memory{What: filesystemtest.FilesOf(files)}, false))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// identified is a report that names a system and no more.
func identified(id, distro string) *inspect.Report {
	return &inspect.Report{
		OS:     identify.Report{Status: identify.Identified, ID: id, Distro: distro},
		System: inspect.System{Architecture: "x86_64", Firmware: []string{"bios"}, Init: "systemd"},
	}
}

func (p *Plan) named(name string) *Step {
	if i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Name == name }); i >= 0 {
		return &p.Steps[i]
	}
	return &Step{}
}

func expect(t *testing.T, p *Plan, findings ...string) {
	t.Helper()
	var got []string
	for _, f := range p.Findings {
		got = append(got, string(f.Level)+": "+f.What)
	}
	for _, want := range findings {
		if !slices.Contains(got, want) {
			t.Errorf("no finding %q among:\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// TestDebian plans for a real disk: SYSTEMS 5.6, as far as it is a plan.
func TestDebian(t *testing.T) {
	t.Parallel()
	p := planOf(t, imagetest.Image(t, "../../inspect/testdata/split"))
	expect(t, p, "warning: eth0 keeps the fixed address 192.0.2.7/24", "warning: open-vm-tools stays")
	if p.Family != "debian" || p.Blocked() || !p.Needed() {
		t.Errorf("family %q, blocked %v", p.Family, p.Blocked())
	}
	fstab := p.named("fstab").Files
	if len(fstab) != 1 || len(fstab[0].Was) != 64 {
		t.Fatalf("fstab: %+v", fstab)
	}
	want := []string{
		"- /dev/sda6 /var ext4 defaults 0 2", "+ UUID=11111111-1111-4111-8111-111111111116 /var ext4 defaults 0 2",
		"- /dev/sdb1 /data ext4 defaults 0 2", "+ /dev/sdb1 /data ext4 defaults,nofail 0 2",
	}
	if diff := cmp.Diff(want, fstab[0].Diff()); diff != "" {
		t.Error(diff)
	}
	if got := p.named("uefi-fallback").Files; len(got) != 1 || got[0].From != "/boot/efi/EFI/debian/grubx64.efi" {
		t.Errorf("fallback: %+v", got)
	}
	if got := p.named("initramfs"); !cmp.Equal(got.Run, [][]string{{"update-initramfs", "-u", "-k", "6.1.0-18-amd64"}}) || !strings.Contains(got.Files[0].Text, "virtio_blk\n") {
		t.Errorf("initramfs: %+v", got)
	}
	if got := p.named("cards").Files; len(got) != 1 || !strings.Contains(got[0].Text, "MACAddress=${mac1}") || !strings.Contains(got[0].Text, "Name=eth0") {
		t.Errorf("cards: %+v", got)
	}
}

// TestFamilies makes the initramfs of each kind as its system does.
func TestFamilies(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		distro, kind, file, old, text string
		run                           []string
	}{
		{"ubuntu", "initramfs-tools", "/etc/initramfs-tools/modules", "# mine", "# mine\nvirtio_pci\n", []string{"update-initramfs", "-u", "-k", "1.2"}},
		{"rocky", "dracut", "/etc/dracut.conf.d/droveway.conf", "", `add_drivers+=" virtio_pci `, []string{"dracut", "--force", "/boot/i", "1.2"}},
		{"arch", "mkinitcpio", "/etc/mkinitcpio.conf", "A=1\nMODULES=(x)\n", "MODULES=(x virtio_pci virtio_blk", []string{"mkinitcpio", "-P"}},
		{"alpine", "mkinitfs", "/etc/mkinitfs/mkinitfs.conf", "features=\"base scsi\"\n", `features="base scsi virtio"`, []string{"mkinitfs", "1.2"}},
		{"sles", "mkinitrd-suse", "/etc/sysconfig/kernel", "INITRD_MODULES=\"mptspi\"\n", `INITRD_MODULES="mptspi virtio_pci`, []string{"mkinitrd", "-k", "vmlinuz-1.2", "-i", "/boot/i"}},
	} {
		r := identified(k.distro+"1", k.distro)
		r.System.Kernels = []inspect.Kernel{{Version: "1.2", Initramfs: "/boot/i", InitramfsKind: k.kind, Virtio: inspect.Virtio{PCI: "modules", Block: "modules", SCSI: "modules", Net: "modules"}}}
		files := map[string]string{"etc/fstab": ""}
		if k.old != "" {
			files[strings.TrimPrefix(k.file, "/")] = k.old
		}
		s := plan(t, r, files).named("initramfs")
		if len(s.Files) != 1 || s.Files[0].Path != k.file || !strings.Contains(s.Files[0].Text, k.text) || !cmp.Equal(s.Run, [][]string{k.run}) {
			t.Errorf("%s: %+v", k.distro, s)
		}
		r.System.Kernels[0].InitramfsKind = "something"
		if p := plan(t, r, files); !p.Blocked() {
			t.Errorf("%s: an initramfs of an unknown kind: %+v", k.distro, p)
		}
		r.System.Kernels[0].Virtio = inspect.Virtio{PCI: "built-in", Block: "initramfs"}
		if p := plan(t, r, files); p.Blocked() || p.named("initramfs").Name != "" {
			t.Errorf("%s: an initramfs that has all: %+v", k.distro, p)
		}
	}
}

// TestLoader finds the root by UUID whatever the loader, and writes to the serial
// console; each file is written once.
func TestLoader(t *testing.T) {
	t.Parallel()
	r := identified("centos7", "centos")
	r.System.Root, r.System.BootLoader = "p1", "grub2"
	r.Volumes = []inspect.Volume{{Name: "p1", Kind: "xfs", UUID: "aa-bb"}}
	s := plan(t, r, map[string]string{
		"boot/grub2/grub.cfg":         "\tlinux16 /vmlinuz-1 root=/dev/sda1 ro \n\tlinux16 /memtest x\n  linux /vmlinuz-2 root=/dev/mapper/x console=ttyS0\n",
		"boot/grub/menu.lst":          "# kernel /vmlinuz\nkernel /vmlinuz-1 root=/dev/hda1\ninitrd /i\n",
		"boot/loader/entries/a.conf":  "title options\noptions root=/dev/sda1 ro\n",
		"boot/extlinux/extlinux.conf": "  APPEND root=/dev/sda1 quiet\n",
		"etc/kernel/cmdline":          "root=/dev/sda1 quiet\n",
		"etc/default/grub":            "A=1\nGRUB_CMDLINE_LINUX=\"root=/dev/sda1 quiet\"\n",
	}).named("loader")
	got := map[string]string{}
	for _, f := range s.Files {
		got[f.Path] += f.Text
	}
	want := map[string]string{
		"/boot/grub2/grub.cfg":         "\tlinux16 /vmlinuz-1 root=UUID=aa-bb ro SERIAL\n\tlinux16 /memtest x\n  linux /vmlinuz-2 root=/dev/mapper/x console=ttyS0\n",
		"/boot/grub/menu.lst":          "# kernel /vmlinuz\nkernel /vmlinuz-1 root=UUID=aa-bb SERIAL\ninitrd /i\n",
		"/boot/loader/entries/a.conf":  "title options\noptions root=UUID=aa-bb ro SERIAL\n",
		"/boot/extlinux/extlinux.conf": "  APPEND root=UUID=aa-bb quiet SERIAL\n",
		"/etc/kernel/cmdline":          "root=UUID=aa-bb quiet SERIAL\n",
		"/etc/default/grub":            "A=1\nGRUB_CMDLINE_LINUX=\"root=UUID=aa-bb quiet SERIAL\"\n",
	}
	for file, text := range want {
		want[file] = strings.ReplaceAll(text, "SERIAL", "console=tty0 console=ttyS0,115200")
	}
	if diff := cmp.Diff(want, got); diff != "" || !cmp.Equal(s.Run, [][]string{{"grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"}}) {
		t.Errorf("run %v\n%s", s.Run, diff)
	}
	if !s.Enough || !cmp.Equal(s.Makes, []string{"/boot/grub2/grub.cfg"}) {
		t.Errorf("enough %v, makes %v", s.Enough, s.Makes)
	}
}

// TestAppend finds what an archive behind the initramfs has to hold.
func TestAppend(t *testing.T) {
	t.Parallel()
	const dir = "/lib/modules/1.2/"
	files := map[string]string{"etc/fstab": ""}
	for _, name := range []string{"k/virtio.ko", "k/virtio_ring.ko", "k/virtio_pci.ko.xz", "k/virtio-blk.ko", "modules.dep.bin", "modules.alias"} {
		files[dir[1:]+name] = "x"
	}
	files[dir[1:]+"modules.dep"] = "k/virtio_pci.ko.xz: k/virtio_ring.ko k/virtio.ko\nk/virtio-blk.ko: k/virtio_ring.ko\nk/other.ko:\n../../x/virtio_scsi.ko: k/virtio.ko\n"
	r := identified("debian12", "debian")
	k := inspect.Kernel{Version: "1.2", Initramfs: "/boot/i", InitramfsKind: "initramfs-tools", Compression: []string{"zstd"}, Virtio: inspect.Virtio{PCI: "modules", Block: "modules", SCSI: "modules", Net: "modules"}}
	step := func(change func(k *inspect.Kernel), without string) *Step {
		k, some := k, map[string]string{}
		for name, text := range files {
			if name != without {
				some[name] = text
			}
		}
		change(&k)
		r.System.Kernels = []inspect.Kernel{k}
		return plan(t, r, some).named("initramfs")
	}
	as := func(*inspect.Kernel) {}
	s := step(as, "")
	want := []string{dir + "k/virtio_pci.ko.xz", dir + "k/virtio_ring.ko", dir + "k/virtio.ko", dir + "k/virtio-blk.ko", dir + "modules.dep", dir + "modules.dep.bin", dir + "modules.alias"}
	if len(s.Files) != 2 || !s.Enough || s.Files[1].Path != "/boot/i" || !cmp.Equal(s.Files[1].Append, want) || !cmp.Equal(s.Makes, []string{"/boot/i"}) {
		t.Errorf("%+v", s)
	}
	for name, s := range map[string]*Step{
		"lz4":            step(func(k *inspect.Kernel) { k.Compression = []string{"lz4"} }, ""),
		"mkinitcpio":     step(func(k *inspect.Kernel) { k.InitramfsKind = "mkinitcpio" }, ""),
		"no index":       step(as, dir[1:]+"modules.dep.bin"),
		"no such module": step(as, dir[1:]+"k/virtio-blk.ko"),
		"other kernel":   step(func(k *inspect.Kernel) { k.Version = "1.3" }, ""),
	} {
		if s.Enough || len(s.Run) != 1 || slices.ContainsFunc(s.Files, func(f File) bool { return len(f.Append) > 0 }) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestCrypttab(t *testing.T) {
	t.Parallel()
	r := identified("debian12", "debian")
	r.Volumes = []inspect.Volume{{Name: "p5", Kind: "luks2", UUID: "cc", Encrypted: true, Unlocked: true}}
	r.System.Crypttab = []inspect.Mapped{{Name: "root", Spec: "/dev/sda5", Volume: "p5"}, {Name: "other", Spec: "UUID=dd"}}
	s := plan(t, r, map[string]string{"etc/crypttab": "# sda5\nroot  /dev/sda5 none\tluks\nother UUID=dd none\n"}).named("crypttab")
	if len(s.Files) != 1 || s.Files[0].Text != "# sda5\nroot  UUID=cc none\tluks\nother UUID=dd none\n" {
		t.Errorf("%+v", s)
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	r := identified("debian12", "debian")
	r.System.Tools = []string{"open-vm-tools", "qemu-guest-agent", "virtualbox-guest-additions"}
	p := plan(t, r, map[string]string{"lib/systemd/system/open-vm-tools.service": "x"})
	if s := p.named("tools"); !cmp.Equal(s.Files, []File{{Path: "/etc/systemd/system/open-vm-tools.service", Link: "/dev/null"}}) {
		t.Errorf("%+v", s)
	}
	expect(t, p, "warning: virtualbox-guest-additions stays")
	r.System.Init = "sysvinit"
	if s := plan(t, r, map[string]string{"etc/init.d/vboxadd": "x"}).named("tools"); !cmp.Equal(s.Run, [][]string{{"update-rc.d", "vboxadd", "disable"}}) {
		t.Errorf("%+v", s)
	}
}

// TestNothingIsGuessed changes nothing in what is not known for sure.
func TestNothingIsGuessed(t *testing.T) {
	t.Parallel()
	r := identified("debian12", "debian")
	r.System.Fstab = []inspect.Mount{{Spec: "/dev/sdb1", Path: "/data", Kind: "ext4", Options: "defaults"}}
	files := map[string]string{"etc/fstab": "/dev/sdb1 /data ext4 defaults 0 0\n"}
	if p := plan(t, r, files); len(p.Steps) != 1 || p.Blocked() {
		t.Errorf("identified: %+v", p)
	}
	r.OS.Why = []string{"x"}
	r.OS.Status = identify.Ambiguous
	if p := plan(t, r, files); len(p.Steps) != 0 || !p.Blocked() {
		t.Errorf("ambiguous: %+v", p)
	}
	r.OS.Status = identify.Unsupported
	if p := plan(t, r, files); len(p.Steps) != 0 {
		t.Errorf("unsupported: %+v", p)
	}
}

// TestWillNotWork finds what stops an import.
func TestWillNotWork(t *testing.T) {
	t.Parallel()
	r := identified("debian12", "debian")
	r.System.Hibernated = "swap on p7"
	r.System.Architecture = "aarch64"
	r.System.Kernels = []inspect.Kernel{{Version: "1", Virtio: inspect.Virtio{PCI: "missing", Block: "missing", SCSI: "missing", Net: "missing"}}}
	r.Volumes = []inspect.Volume{{Name: "p1", Kind: "ext4", Dirty: "journal"}, {Name: "p2", Kind: "ntfs", Dirty: "it is mounted"}, {Name: "p5", Kind: "luks2", Encrypted: true, Tokens: []string{"clevis"}}, {Name: "p6", Kind: "xfs", Mount: "/", Lacks: 5}, {Name: "p7", Kind: "xfs", Lacks: 5}}
	p := plan(t, r, nil)
	expect(t, p, "blocker: the system is hibernated", "blocker: it is for aarch64", "blocker: kernel 1 has no virtio drivers for disks", "warning: p1 is not clean", "blocker: p2 is not clean", "warning: p5 is encrypted", "blocker: the end of p6 is missing", "warning: the end of p7 is missing")
	i := slices.IndexFunc(p.Findings, func(f Finding) bool { return f.What == "p5 is encrypted" })
	if a := p.Findings[i].Advice; !strings.Contains(a, "--luks-key FILE") || !strings.Contains(a, "clevis") {
		t.Errorf("advice %q", a)
	}
}

// windowsHive is a SYSTEM whose second control set is in use.
func windowsHive(database bool) []byte {
	keys := map[string]registrytest.Key{
		"Select":        {Values: map[string]any{"Current": uint32(2)}},
		"ControlSet001": {Keys: map[string]registrytest.Key{"Services": {}}},
		"ControlSet002": {Keys: map[string]registrytest.Key{"Services": {Keys: map[string]registrytest.Key{"disk": {Values: map[string]any{"Start": uint32(0)}}}}}},
	}
	if database {
		keys["DriverDatabase"] = registrytest.Key{Keys: map[string]registrytest.Key{"DeviceIds": {}}}
	}
	return registrytest.Hive(registrytest.Key{Keys: keys})
}

// TestWindowsDrivers puts drivers into the registry as Windows before and since 8
// wants them.
func TestWindowsDrivers(t *testing.T) {
	t.Parallel()
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, database := range []bool{false, true} {
		e, err := registry.Edit(windowsHive(database), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all.windows.Drivers {
			if err := Write(e, d.Entries(database)); err != nil {
				t.Fatal(err)
			}
		}
		k, err := e.Key(`ControlSet002\Services\viostor`)
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := k.Number("Start"); !ok || start != 0 || k.Text("Group") != "SCSI miniport" || k.Text("ImagePath") != `system32\drivers\viostor.sys` {
			t.Errorf("viostor: start %d, group %q, path %q", start, k.Text("Group"), k.Text("ImagePath"))
		}
		if _, err := e.Key(`ControlSet001\Services\viostor`); !droveway.Is(err, droveway.NotFound) {
			t.Errorf("a control set that is not in use: %v", err)
		}
		const id = "VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00"
		critical, err1 := e.Key(`ControlSet002\Control\CriticalDeviceDatabase\PCI#` + id)
		descriptor, err2 := e.Key(`DriverDatabase\DriverPackages\droveway_viostor.inf_droveway\Descriptors\PCI\` + id)
		switch {
		case database && (err2 != nil || descriptor.Text("Configuration") != "viostor_conf" || err1 == nil):
			t.Errorf("with a driver database: %v, %v", err1, err2)
		case !database && (err1 != nil || critical.Text("Service") != "viostor" || err2 == nil):
			t.Errorf("without a driver database: %v, %v", err1, err2)
		}
	}
}

func TestWindowsPlan(t *testing.T) {
	t.Parallel()
	r := identified("win2k22", "windows")
	r.System.Windows = &inspect.WindowsDrivers{Net: true, Database: true}
	r.System.Tools = []string{"vmware-tools"}
	p := plan(t, r, nil)
	expect(t, p, "blocker: Windows has no virtio driver that starts at boot")
	if s := p.named("driver"); len(s.Files) != 2 || s.Files[0].From != "virtio-win:viostor/2k22/amd64/viostor.sys" {
		t.Errorf("%+v", s)
	}
	if n := len(p.Steps); n != 3 { // tools and two drivers
		t.Errorf("%d steps", n)
	}
	b, err := json.Marshal(p)
	if err != nil || !strings.Contains(string(b), `{"key":"${control}\\Services\\VMTools","name":"Start","value":"dword:00000004"}`) {
		t.Errorf("%v: %s", err, b)
	}
}

// TestRecipes finds data that nothing else would find wrong.
func TestRecipes(t *testing.T) {
	t.Parallel()
	r, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for name, i := range r.initramfses {
		if _, err := regexp.Compile(i.Match); err != nil || len(i.Run) == 0 || i.File != "" && i.Text == "" && i.With == "" {
			t.Errorf("initramfs %s: %v, %+v", name, err, i)
		}
	}
	for name, tool := range r.toolset {
		if (tool.Keep == "") == (len(tool.Services)+len(tool.Windows) == 0) {
			t.Errorf("tool %s: %+v", name, tool)
		}
	}
}

func FuzzTexts(f *testing.F) {
	f.Add("/dev/sda1 / ext4 defaults 0 1\n# x\n/dev/sdb1\t/a\\040b xfs rw 0 0", "GRUB_CMDLINE_LINUX='a'\nroot=/dev/sda1", "MODULES=(a)")
	known, err := load()
	if err != nil {
		f.Fatal(err)
	}
	mounts := []inspect.Mount{{Spec: "/dev/sda1", Path: "/", Volume: "p1"}, {Spec: "/dev/sdb1", Path: "/a b", Options: "rw"}}
	f.Fuzz(func(t *testing.T, table, loader, modules string) {
		text := fstab(table, mounts, func(string) string { return "aa" })
		if strings.Count(text, "\n") != strings.Count(table, "\n") {
			t.Errorf("lines were lost or added: %q to %q", table, text)
		}
		if again := fstab(text, []inspect.Mount{{Spec: "UUID=aa", Path: "/", Volume: "p1"}}, func(string) string { return "aa" }); again != text {
			t.Errorf("what was changed is changed again: %q to %q", text, again)
		}
		rootByUUID(consoleOfGRUB(loader), "aa")
		for _, i := range known.initramfses {
			i.add(modules)
		}
		(&File{Old: table, Text: text}).Diff()
	})
}
