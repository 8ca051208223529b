package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

func inspectBytes(t testing.TB, b []byte) *Report {
	t.Helper()
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	i, err := format.New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Disk(context.Background(), i, Options{Catalog: c})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSplitDisk inspects a Debian whose /boot, /usr and /var are partitions of
// their own, named in fstab by UUID, PARTUUID, label and device: without joining
// them neither its package list nor its kernel can be seen.
func TestSplitDisk(t *testing.T) {
	r := inspectBytes(t, imagetest.Image(t, "split"))
	if r.OS.Status != identify.Identified || r.OS.ID != "debian12" {
		t.Fatalf("%s %s: %v", r.OS.Status, r.OS.ID, r.OS.Why)
	}
	var mounts []string
	for _, v := range r.Volumes {
		mounts = append(mounts, v.Name+" "+v.Kind+" "+v.Mount)
	}
	want := []string{"p1 vfat /boot/efi", "p2 ext2 /boot", "p3 ext4 /", "p5 ext4 /usr", "p6 ext4 /var", "p7 swap "}
	if diff := cmp.Diff(want, mounts); diff != "" {
		t.Error(diff)
	}
	y := r.System
	if y.Root != "p3" || y.Architecture != "x86_64" || y.Init != "systemd" || !slices.Equal(y.Firmware, []string{"uefi"}) || !slices.Equal(y.Tools, []string{"open-vm-tools"}) {
		t.Errorf("root %s, %s, init %s, firmware %v, tools %v", y.Root, y.Architecture, y.Init, y.Firmware, y.Tools)
	}
	kernels := []Kernel{
		{Version: "6.1.0-18-amd64", File: "/boot/vmlinuz-6.1.0-18-amd64", Initramfs: "/boot/initrd.img-6.1.0-18-amd64", InitramfsKind: "initramfs-tools", Compression: []string{"gzip"}, Virtio: Virtio{"built-in", "modules", "missing", "initramfs"}},
		{Version: "6.1.0-9-amd64", File: "/boot/vmlinuz-6.1.0-9-amd64", Virtio: Virtio{"missing", "missing", "missing", "missing"}},
	}
	if diff := cmp.Diff(kernels, y.Kernels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Network{Kinds: []string{"ifupdown"}, Names: []string{"eth0"}, Static: []Static{{"eth0", "192.0.2.7/24", "/etc/network/interfaces"}}}, y.Network); diff != "" {
		t.Error(diff)
	}
}

// TestTruncated cuts a disk in the midst of its /usr, which no kernel mounts then.
func TestTruncated(t *testing.T) {
	whole := inspectBytes(t, imagetest.Image(t, "split"))
	usr := whole.Disk.Parts[3]
	r := inspectBytes(t, imagetest.Image(t, "split")[:usr.Start+usr.Size/2])
	for _, v := range r.Volumes {
		if want := v.Name == "p5"; want != (v.Lacks == usr.Size/2) || !want && v.Lacks != 0 {
			t.Errorf("%s lacks %d bytes", v.Name, v.Lacks)
		}
	}
	for _, v := range whole.Volumes {
		if v.Lacks != 0 {
			t.Errorf("whole, %s lacks %d bytes", v.Name, v.Lacks)
		}
	}
}

func TestNoSystem(t *testing.T) {
	r := inspectBytes(t, make([]byte, 1<<20))
	if r.OS.Status != identify.Unsupported || !strings.Contains(r.OS.Why[0], "no root filesystem among disk (unknown)") {
		t.Errorf("%s: %v", r.OS.Status, r.OS.Why)
	}
	b := make([]byte, 1<<20)
	copy(b, "LUKS\xba\xbe\x00\x02")
	r = inspectBytes(t, b)
	if len(r.System.Encrypted) != 1 || !r.Volumes[0].Encrypted {
		t.Errorf("encrypted %v, %+v", r.System.Encrypted, r.Volumes)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(p, imagetest.Image(t, "split"), 0o400); err != nil {
		t.Fatal(err)
	}
	r, err := File(context.Background(), p, Options{Catalog: c})
	if err != nil || r.OS.ID != "debian12" {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := File(ctx, p, Options{Catalog: c}); err == nil {
		t.Error("an inspection that was called off went on")
	}
	if _, err := File(context.Background(), p+".none", Options{Catalog: c}); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("%v, want not found", err)
	}
}

// windowsTree is what a Windows has, with its registry.
func windowsTree(current map[string]any, services map[string]registrytest.Key, more map[string]string) *inspection {
	software := registrytest.Hive(registrytest.Key{Keys: map[string]registrytest.Key{"Microsoft": {Keys: map[string]registrytest.Key{"Windows NT": {Keys: map[string]registrytest.Key{"CurrentVersion": {Values: current}}}}}}})
	system := registrytest.Hive(registrytest.Key{Keys: map[string]registrytest.Key{
		"Select": {Values: map[string]any{"Current": uint32(2)}},
		"ControlSet002": {Keys: map[string]registrytest.Key{
			"Services": {Keys: services},
			"Control":  {Keys: map[string]registrytest.Key{"Session Manager": {Keys: map[string]registrytest.Key{"Environment": {Values: map[string]any{"PROCESSOR_ARCHITECTURE": "AMD64"}}}}}},
		}},
	}})
	files := map[string]string{"Windows/System32/ntoskrnl.exe": "MZ", "bootmgr": "x", "Windows/System32/config/SOFTWARE": string(software), "Windows/System32/config/SYSTEM": string(system)}
	for name, what := range more {
		files[name] = what
	}
	s := &inspection{report: &Report{}, tree: filesystem.NewTree(filesystemtest.Memory{What: filesystemtest.FilesOf(files)}, true)}
	s.openWindows()
	return s
}

func TestWindows(t *testing.T) {
	c := catalog(t)
	for id, current := range map[string]map[string]any{
		"win11":     {"ProductName": "Windows 10 Pro", "CurrentBuildNumber": "22631", "CurrentVersion": "6.3", "InstallationType": "Client"},
		"win10":     {"ProductName": "Windows 10 Pro", "CurrentBuildNumber": "19045", "CurrentVersion": "6.3", "InstallationType": "Client"},
		"win2k22":   {"ProductName": "Windows Server 2022 Standard", "CurrentBuildNumber": "20348", "CurrentVersion": "6.3", "InstallationType": "Server Core"},
		"win2k25":   {"ProductName": "Windows Server 2025 Standard", "CurrentBuildNumber": "26100", "CurrentVersion": "6.3", "InstallationType": "Server"},
		"win2k16":   {"ProductName": "Windows Server 2016 Standard", "CurrentBuildNumber": "14393", "CurrentVersion": "6.3", "InstallationType": "Server"},
		"win2k12r2": {"ProductName": "Windows Server 2012 R2 Standard", "CurrentBuildNumber": "9600", "CurrentVersion": "6.3", "InstallationType": "Server"},
		"win7":      {"ProductName": "Windows 7 Professional", "CurrentBuildNumber": "7601", "CurrentVersion": "6.1", "InstallationType": "Client"},
		"win2k8":    {"ProductName": "Windows Server (R) 2008 Standard", "CurrentBuildNumber": "6002", "CurrentVersion": "6.0", "InstallationType": "Server"},
		"winxp":     {"ProductName": "Microsoft Windows XP", "CurrentBuildNumber": "2600", "CurrentVersion": "5.1"},
		"win2k3":    {"ProductName": "Microsoft Windows Server 2003", "CurrentBuildNumber": "3790", "CurrentVersion": "5.2"},
	} {
		s := windowsTree(current, nil, nil)
		s.catalog = c
		s.identify()
		(&guest{id: id}).expect(t, s.report.OS)
	}
}

func TestWindowsFacts(t *testing.T) {
	s := windowsTree(nil, map[string]registrytest.Key{"VMTools": {}}, map[string]string{"hiberfil.sys": "HIBR...."})
	s.catalog = catalog(t)
	s.windowsFacts()
	if y := s.report.System; y.Hibernated == "" || *y.Windows != (WindowsDrivers{}) || !slices.Equal(y.Tools, []string{"vmware-tools"}) {
		t.Errorf("hibernated %q, drivers %+v, tools %v", y.Hibernated, y.Windows, y.Tools)
	}
	if s.report.System.Architecture != "x86_64" {
		t.Errorf("architecture %q", s.report.System.Architecture)
	}
	s = windowsTree(nil, map[string]registrytest.Key{"viostor": {Values: map[string]any{"Start": uint32(0)}}, "netkvm": {}}, nil)
	s.windowsFacts()
	if want := (&WindowsDrivers{Block: true, Net: true}); *s.report.System.Windows != *want {
		t.Errorf("drivers %+v, want %+v", s.report.System.Windows, want)
	}
}

// volumeOf is an open filesystem that is not on a disk.
type volumeOf struct{ files map[string]string }

func (volumeOf) Info() filesystem.Info { return filesystem.Info{Kind: "ext2"} }

func (v volumeOf) Root() (filesystem.Node, error) {
	return filesystemtest.Memory{What: filesystemtest.FilesOf(v.files)}, nil
}

// TestFlatcar identifies a disk that never ran: its root is empty.
func TestFlatcar(t *testing.T) {
	parts := []disk.Part{{Name: "EFI-SYSTEM"}, {Name: "USR-A"}, {Name: "OEM"}, {Name: "ROOT"}}
	s := &inspection{catalog: catalog(t), report: &Report{Disk: disk.Table{Kind: "gpt", Parts: parts}}}
	s.volumes = []*volume{
		{Volume: Volume{Name: "p2"}, part: &parts[1], found: volumeOf{map[string]string{"lib/os-release": osRelease("flatcar", "3815.2.0"), "share/flatcar/update.conf": "GROUP=stable\n"}}},
		{Volume: Volume{Name: "p4"}, part: &parts[3], found: volumeOf{}},
	}
	if roots := s.findRoots(); len(roots) > 0 {
		t.Errorf("roots %v", roots)
	}
	s.openUSR()
	s.identify()
	(&guest{id: "flatcar"}).expect(t, s.report.OS)
	if s.report.OS.Version != "3815.2.0" {
		t.Errorf("version %q", s.report.OS.Version)
	}
}

func TestNetworkFiles(t *testing.T) {
	for name, k := range map[string]struct {
		read func(file, text string) []Static
		text string
		want []Static
	}{
		"netplan":    {netplanStatic, "network:\n  ethernets:\n    ens3:\n      addresses: [10.0.0.5/24, {10.0.0.6/24: {label: x}}]\n    ens4: {dhcp4: true}\n", []Static{{"ens3", "10.0.0.5/24", "f"}, {"ens3", "10.0.0.6/24", "f"}, {"ens4", "", "f"}}},
		"a bomb":     {netplanStatic, "network: &a {ethernets: *a}\n", nil},
		"keyfile":    {keyfileStatic, "[connection]\ninterface-name=ens3\n[ipv4]\nmethod=manual\naddress1=10.0.0.5/24,10.0.0.1\n", []Static{{"ens3", "10.0.0.5/24", "f"}}},
		"networkd":   {networkdStatic, "[Match]\nName=ens3\n[Network]\nAddress=10.0.0.5/24\n", []Static{{"ens3", "10.0.0.5/24", "f"}}},
		"ifcfg":      {ifcfgStatic, "DEVICE=eth0\nBOOTPROTO=none\nIPADDR=10.0.0.5\n", []Static{{"eth0", "10.0.0.5", "f"}}},
		"ifcfg dhcp": {ifcfgStatic, "DEVICE=eth0\nBOOTPROTO=dhcp\nIPADDR=10.0.0.5\n", []Static{{"eth0", "", "f"}}},
		"ifupdown":   {ifupdownStatic, "auto eth0\niface eth0 inet static\n  address 10.0.0.5/24\niface eth1 inet dhcp\n", []Static{{"eth0", "10.0.0.5/24", "f"}, {"eth1", "", "f"}}},
		"rc":         {rcStatic, "ifconfig_vtnet0=\"inet 10.0.0.5 netmask 255.255.255.0\"\nifconfig_em1=\"DHCP\"\n", []Static{{"vtnet0", "10.0.0.5", "f"}}},
	} {
		if diff := cmp.Diff(k.want, k.read("f", k.text)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func FuzzDisk(f *testing.F) {
	c, err := identify.Default()
	if err != nil {
		f.Fatal(err)
	}
	imagetest.Fuzz(f, func(b []byte) {
		i, err := format.New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if _, err := Disk(context.Background(), i, Options{Catalog: c}); droveway.Is(err, droveway.Internal) {
			panic(err)
		}
	}, "split")
}

func FuzzConfig(f *testing.F) {
	f.Add("UUID=1 / ext4 defaults 0 1\nnetwork: {ethernets: {a: {addresses: [b]}}}\n")
	f.Fuzz(func(_ *testing.T, text string) {
		parseFstab(text)
		for _, r := range netReaders() {
			r.read("/etc/x", text)
		}
	})
}
