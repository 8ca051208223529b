package repair

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

// memory is a tree of files, whose names differ in more than case.
func memory(files map[string]string) *filesystem.Tree {
	return filesystem.NewTree(filesystemtest.Memory{What: filesystemtest.FilesOf(files)}, true)
}

// discOf is a disc of drivers that has these files.
func discOf(names ...string) *VirtioWin {
	files := map[string]string{}
	for _, n := range names {
		files[n] = "contents of " + n
	}
	return &VirtioWin{memory(files)}
}

// softwareHive is a SOFTWARE that looks for drivers in a folder.
func softwareHive(where string) string {
	type keys = map[string]registrytest.Key
	return string(registrytest.Hive(registrytest.Key{Keys: keys{"Microsoft": {Keys: keys{"Windows": {Keys: keys{"CurrentVersion": {Values: map[string]any{"DevicePath": where}}}}}}}}))
}

// windowsPlanOf plans for a Windows without virtio drivers.
func windowsPlanOf(t *testing.T, id, arch string, hives map[string]string, o Options) *Plan {
	t.Helper()
	r := identified(id, "windows")
	r.System.Windows, r.System.Architecture, r.System.Init = &inspect.WindowsDrivers{Database: true}, arch, "windows"
	files := map[string]string{}
	for name, b := range hives {
		files["Windows/System32/config/"+name] = b
	}
	p, err := MakeWith(r, memory(files), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// from are the files that a plan takes from the disc, once each.
func (p *Plan) from() (all []string) {
	for _, s := range p.Steps {
		for _, f := range s.Files {
			if n := strings.TrimPrefix(f.From, FromVirtioWin); !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// TestDriversOfDisc chooses the folder of the system and the architecture, with all of
// the package but what debuggers read. SYSTEMS 5.5
func TestDriversOfDisc(t *testing.T) {
	t.Parallel()
	disc := discOf("viostor/w10/amd64/viostor.sys", "viostor/w10/amd64/viostor.inf", "viostor/w10/amd64/viostor.pdb", "viostor/w10/x86/viostor.sys",
		"viostor/2k19/amd64/viostor.sys", "vioscsi/w11/amd64/VIOSCSI.SYS", "NetKVM/w10/amd64/netkvm.sys", "NetKVM/w10/amd64/netkvmco.exe")
	for _, k := range []struct {
		id, arch string
		want     []string
	}{
		{"win10", "x86_64", []string{"viostor/w10/amd64/viostor.inf", "viostor/w10/amd64/viostor.sys", "NetKVM/w10/amd64/netkvm.sys", "NetKVM/w10/amd64/netkvmco.exe"}},
		{"win10", "i686", []string{"viostor/w10/x86/viostor.sys"}},
		{"win11", "x86_64", []string{"viostor/w10/amd64/viostor.inf", "viostor/w10/amd64/viostor.sys", "vioscsi/w11/amd64/VIOSCSI.SYS", "NetKVM/w10/amd64/netkvm.sys", "NetKVM/w10/amd64/netkvmco.exe"}},
		{"win2k22", "x86_64", []string{"viostor/2k19/amd64/viostor.sys"}},
	} {
		p := windowsPlanOf(t, k.id, k.arch, nil, Options{VirtioWin: disc})
		if diff := cmp.Diff(k.want, p.from()); diff != "" || p.Blocked() || !p.Needed() {
			t.Errorf("%s, %s: %+v\n%s", k.id, k.arch, p.Findings, diff)
		}
	}
	p := windowsPlanOf(t, "win10", "x86_64", nil, Options{VirtioWin: disc})
	for _, f := range p.named("driver").Files {
		b, err := disc.Read(f.From)
		if err != nil || !strings.HasPrefix(string(b), "contents of viostor/w10/amd64/") {
			t.Errorf("%+v: %q, %v", f, b, err)
		}
	}
}

// TestLackingDrivers says before anything is copied what to do about a Windows that
// would not start. SYSTEMS 5.8
func TestLackingDrivers(t *testing.T) {
	t.Parallel()
	disc := discOf("viostor/w10/amd64/viostor.sys")
	for _, k := range []struct {
		name, id string
		o        Options
		blocked  bool
		words    []string
	}{
		{"no disc", "win10", Options{}, true, []string{"INACCESSIBLE_BOOT_DEVICE", "--virtio-win"}},
		{"a disc that is to come", "win10", Options{Promised: true}, false, nil},
		{"no folder of that system", "win7", Options{VirtioWin: disc}, true, []string{"viostor/w7/amd64", "another virtio-win.iso"}},
		{"only what disks need", "win10", Options{VirtioWin: disc}, false, []string{"NetKVM/w10/amd64"}},
		{"a system that is not known", "win95", Options{VirtioWin: disc}, true, []string{"no drivers for win95 are known"}},
	} {
		p := windowsPlanOf(t, k.id, "x86_64", nil, k.o)
		if p.Blocked() != k.blocked {
			t.Errorf("%s: blocked %v: %+v", k.name, p.Blocked(), p.Findings)
		}
		expectWords(t, k.name, p, k.words...)
	}
}

func expectWords(t *testing.T, name string, p *Plan, words ...string) {
	t.Helper()
	var all strings.Builder
	for _, f := range p.Findings {
		all.WriteString(f.What + ": " + f.Why + ": " + f.Advice + "\n")
	}
	for _, w := range words {
		if !strings.Contains(all.String(), w) {
			t.Errorf("%s: %q is not said in\n%s", name, w, all.String())
		}
	}
}

// TestFirstBoot adds the folder to those that Windows knows, once.
func TestFirstBoot(t *testing.T) {
	t.Parallel()
	disc := discOf("viostor/w10/amd64/viostor.sys", "viostor/xp/x86/viostor.sys")
	for _, k := range []struct {
		id, arch, before string
		want             []string
	}{
		{"win10", "x86_64", `%SystemRoot%\inf`, []string{"DevicePath", "DrovewayVirtIO"}},
		{"win10", "x86_64", `%SystemRoot%\inf;%systemroot%\drivers\virtio`, []string{"DrovewayVirtIO"}},
		{"winxp", "i686", `%SystemRoot%\inf`, []string{"DevicePath"}},
	} {
		p := windowsPlanOf(t, k.id, k.arch, map[string]string{"SOFTWARE": softwareHive(k.before)}, Options{VirtioWin: disc})
		var got []string
		for _, e := range p.named("firstboot").Software {
			got = append(got, e.Name)
			if _, data := e.Value.Raw(); e.Name == "DevicePath" && !bytes.Contains(data, []byte("i\x00n\x00f\x00;\x00%\x00")) {
				t.Errorf("%s: DevicePath %s", k.id, e.Value)
			}
		}
		if diff := cmp.Diff(k.want, got); diff != "" {
			t.Errorf("%s: %s", k.id, diff)
		}
	}
}

// TestStates refuses what must not be changed, and says the way out. SYSTEMS 5.8
func TestStates(t *testing.T) {
	t.Parallel()
	torn := []byte(softwareHive("x"))
	torn[4]++ // the first number of two
	p := windowsPlanOf(t, "win10", "x86_64", map[string]string{"SOFTWARE": string(torn)}, Options{Promised: true})
	if !p.Blocked() {
		t.Errorf("a torn hive: %+v", p.Findings)
	}
	expectWords(t, "a torn hive", p, "SOFTWARE", "powercfg /h off", "shutdown /s /t 0")
	r := identified("win10", "windows")
	r.System.Init, r.System.Hibernated = "windows", "hiberfil.sys holds the memory"
	r.Volumes = []inspect.Volume{{Name: "p2", Kind: "ntfs", Dirty: "it is marked as not clean"}}
	p, err := MakeWith(r, memory(nil), Options{Promised: true})
	if err != nil || !p.Blocked() || len(p.Findings) < 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, f := range p.Findings[:2] {
		if !strings.Contains(f.Advice, "powercfg /h off") || !strings.Contains(f.Advice, "shutdown /s /t 0") || strings.Contains(f.What, "clean") != strings.Contains(f.Advice, "chkdsk") {
			t.Errorf("%+v", f)
		}
	}
}

// TestNoDisc refuses what is no disc of drivers.
func TestNoDisc(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"nothing": make([]byte, 1<<20), "another disc": imagetest.Image(t, "../../filesystem/iso/testdata/rock"),
	} {
		if _, err := OpenVirtioWin(bytes.NewReader(b), int64(len(b))); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "virtio-win.iso") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
