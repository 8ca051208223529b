package inspect

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/registry"
)

// windows is what the registry says, read once.
type windows struct {
	software, system *registry.Hive
	control          *registry.Key // the current control set
	version          *registry.Key
}

var hiveFolders = []string{"/Windows/System32/config/", "/WINNT/system32/config/"}

const maxHive = 512 << 20 // bytes

func (s *inspection) openWindows() {
	w := &windows{software: s.hive("SOFTWARE"), system: s.hive("SYSTEM")}
	if w.software != nil {
		w.version, _ = w.software.Key(`Microsoft\Windows NT\CurrentVersion`)
	}
	if w.system != nil {
		if name, err := w.system.ControlSet(); err == nil {
			w.control, _ = w.system.Key(name)
		}
	}
	s.windows = w
}

func (s *inspection) hive(name string) *registry.Hive {
	for _, dir := range hiveFolders {
		n, err := s.tree.Open(dir + name)
		if err != nil || n.Stat().Size > maxHive {
			continue
		}
		h, err := registry.Open(io.NewSectionReader(n, 0, n.Stat().Size))
		if err != nil {
			s.note("registry hive %s: %v", name, err)
			continue
		}
		return h
	}
	return nil
}

// windowsFact gives what the registry says of the system.
func (s *inspection) windowsFact(name string) []string {
	if s.windows == nil || s.windows.version == nil {
		return nil
	}
	k := s.windows.version
	var got string
	switch name {
	case "windows-product":
		got = k.Text("ProductName")
	case "windows-build":
		if got = k.Text("CurrentBuildNumber"); got == "" {
			got = k.Text("CurrentBuild")
		}
	case "windows-version":
		got = k.Text("CurrentVersion")
	case "windows-type":
		got = k.Text("InstallationType")
	case "windows-edition":
		got = k.Text("EditionID")
	}
	if got == "" {
		return nil
	}
	return []string{got}
}

// windowsFacts looks for what matters in a Windows.
func (s *inspection) windowsFacts() {
	y := &s.report.System
	y.Init = "windows"
	y.Tools = s.windowsTools()
	if y.Hibernated == "" && s.hibernated() {
		y.Hibernated = "hiberfil.sys holds the memory of a hibernated Windows, as fast startup leaves it"
	}
	c := s.windows.control
	if c == nil {
		return
	}
	if k, err := child(c, "Control", "Session Manager", "Environment"); err == nil {
		y.Architecture = map[string]string{"AMD64": "x86_64", "x86": "i686", "ARM64": "aarch64"}[k.Text("PROCESSOR_ARCHITECTURE")]
	}
	y.Windows = &WindowsDrivers{Block: bootStart(c, "viostor"), SCSI: bootStart(c, "vioscsi"), Net: hasService(c, "netkvm")}
	_, err := s.windows.system.Key("DriverDatabase")
	y.Windows.Database = err == nil
	if k, err := child(c, "Services", "Tcpip", "Parameters", "Interfaces"); err == nil {
		_ = k.Children(func(i *registry.Key) bool {
			if dhcp, ok := i.Number("EnableDHCP"); ok && dhcp == 0 && i.Text("IPAddress") != "" && len(y.Network.Static) < maxStatic {
				y.Network.Static = append(y.Network.Static, Static{i.Name, i.Text("IPAddress"), "registry"})
			}
			return true
		})
	}
}

func child(k *registry.Key, names ...string) (*registry.Key, error) {
	for _, n := range names {
		var err error
		if k, err = k.Child(n); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// bootStart reports whether a driver is loaded by the boot loader.
func bootStart(control *registry.Key, name string) bool {
	k, err := child(control, "Services", name)
	if err != nil {
		return false
	}
	start, ok := k.Number("Start")
	return ok && start == 0
}

func hasService(control *registry.Key, name string) bool {
	_, err := child(control, "Services", name)
	return err == nil
}

var windowsServices = []struct{ name, service string }{
	{"vmware-tools", "VMTools"},
	{"virtualbox-guest-additions", "VBoxService"},
	{"hyperv-integration", "vmicheartbeat"},
	{"xen-tools", "xenagent"},
	{"parallels-tools", "prl_tools_service"},
	{"qemu-guest-agent", "QEMU-GA"},
}

func (s *inspection) windowsTools() []string {
	var found []string
	if s.windows.control == nil {
		return nil
	}
	for _, t := range windowsServices {
		if hasService(s.windows.control, t.service) && !slices.Contains(found, t.name) {
			found = append(found, t.name)
		}
	}
	return found
}

// hibernated looks at the mark of hiberfil.sys, which is wiped at a full start.
func (s *inspection) hibernated() bool {
	n, err := s.tree.Open("/hiberfil.sys")
	if err != nil {
		return false
	}
	b, err := filesystem.ReadAll(n, 4)
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	return slices.Contains([]string{"HIBR", "WAKE", "RSTR"}, strings.ToUpper(string(b)))
}
