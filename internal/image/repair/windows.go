package repair

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/registry"
)

// The classes of devices of the drivers, and how Windows writes the first in binary.
const (
	classSCSI       = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
	classSCSIBinary = "\x7b\xe9\x36\x4d\x25\xe3\xce\x11\xbf\xc1\x08\x00\x2b\xe1\x03\x18"
)

// Entry is a value that is set in a hive. In a key of SYSTEM, ${control} is the current
// control set.
type Entry struct {
	Key, Name string
	Value     registry.Value
}

// MarshalJSON writes the value as a .reg file has it.
func (e Entry) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"key": e.Key, "name": e.Name, "value": e.Value.String()})
}

// windowsPlan says what a Windows lacks.
func (p *planner) windowsPlan() {
	y := &p.r.System
	p.checkAddresses()
	p.checkHives()
	var disable []Entry
	for _, name := range y.Tools {
		for _, service := range p.toolset[name].Windows {
			disable = append(disable, Entry{`${control}\Services\` + service, "Start", registry.Number(4)})
		}
	}
	if len(disable) > 0 {
		p.step(Step{Name: "tools", What: "disable the tools of another hypervisor", Why: "they serve it alone", Registry: disable})
	}
	d := y.Windows
	if d == nil {
		p.find(Warning, "the drivers of this Windows cannot be seen", "its SYSTEM hive cannot be read", "")
		return
	}
	p.checkWindowsDrivers(d)
	steps := len(p.plan.Steps)
	for _, driver := range p.windows.Drivers {
		if has := map[string]bool{"viostor": d.Block, "vioscsi": d.SCSI, "netkvm": d.Net}; !has[driver.Name] {
			p.driver(driver)
		}
	}
	if len(p.plan.Steps) > steps {
		p.firstBoot()
	}
}

// checkWindowsDrivers says what is lacking where nobody gives drivers.
func (p *planner) checkWindowsDrivers(d *inspect.WindowsDrivers) {
	const give = "give them with --virtio-win, or install them where it came from"
	switch {
	case p.options.VirtioWin != nil, p.options.Promised: // driver says what even that disc lacks
	case !d.Block && !d.SCSI:
		p.find(Blocker, "Windows has no virtio driver that starts at boot", "it would stop with INACCESSIBLE_BOOT_DEVICE on a virtio disk", give)
	case !d.Net:
		p.find(Warning, "Windows has no virtio driver for the network", "it would see no network card", give)
	}
}

// howToShutDown is how a Windows is brought to a stop that leaves nothing behind.
const howToShutDown = "run powercfg /h off and then shutdown /s /t 0 in it, and copy its disk again"

// hiveFolder is where the hives are, in any case.
const hiveFolder = "/Windows/System32/config/"

// checkHives finds hives that must not be changed.
func (p *planner) checkHives() {
	for _, name := range []string{"SYSTEM", "SOFTWARE"} {
		if h, err := p.hive(name); err == nil && !h.Whole() {
			p.find(Blocker, "the registry was not written to its end", "the log beside its hive "+name+" has the rest", "start Windows where it came from, "+howToShutDown)
		}
	}
}

func (p *planner) hive(name string) (*registry.Hive, error) {
	n, err := p.t.Open(hiveFolder + name)
	if err != nil {
		return nil, err
	}
	return registry.Open(io.NewSectionReader(n, 0, n.Stat().Size))
}

// architectures are the folders of a virtio-win ISO.
var architectures = map[string]string{"x86_64": "amd64", "i686": "x86", "aarch64": "ARM64"}

func (p *planner) driver(d Driver) {
	folders, arch := p.windows.Folders[p.r.OS.ID], architectures[p.r.System.Architecture]
	if len(folders) == 0 || arch == "" {
		p.lacks(d, "no drivers for "+cmp.Or(p.r.OS.Name, p.r.OS.ID, "this Windows")+" are known")
		return
	}
	files := []string{fmt.Sprintf("%s/%s/%s/%s.sys", isoName(d.Name), folders[0], arch, d.Name)}
	if p.options.VirtioWin != nil {
		if files = p.options.VirtioWin.of(d.Name, folders, arch); files == nil {
			p.lacks(d, "the disc of drivers has none in "+wanted(d.Name, folders, arch))
			return
		}
	}
	p.step(Step{
		Name: "driver", What: "put the driver " + d.Name + " in place", Why: "Windows loads no driver by itself that it needs to find its disk",
		Files: driverFiles(d.Name, files), Registry: d.Entries(p.r.System.Windows.Database),
	})
}

// lacks says that a driver cannot be had: Windows starts with either of those for disks.
func (p *planner) lacks(d Driver, why string) {
	has := p.r.System.Windows
	if d.Name == "viostor" && !has.SCSI && (p.options.VirtioWin != nil || p.options.Promised) {
		p.find(Blocker, "there is no driver viostor for this Windows", why, "give another virtio-win.iso")
		return
	}
	p.find(Warning, "there is no driver "+d.Name+" for this Windows", why, "")
}

// packages is where Windows finds the packages of the drivers.
const packages = `%SystemRoot%\Drivers\VirtIO`

// driverFiles are what is copied: the driver to where the service has it, and all of
// its package to where Windows looks for more.
func driverFiles(driver string, from []string) (files []File) {
	for _, f := range from {
		name := path.Base(f)
		if strings.EqualFold(name, driver+".sys") {
			files = append(files, File{Path: "/Windows/System32/drivers/" + name, From: FromVirtioWin + f})
		}
		files = append(files, File{Path: "/Windows/Drivers/VirtIO/" + name, From: FromVirtioWin + f})
	}
	return files
}

// noInstaller are those that have no pnputil. They look into the folder all the same.
var noInstaller = []string{"winxp", "win2k3"}

// firstBoot lets Windows install the packages when it finds the devices, and again when
// somebody logs in who may.
func (p *planner) firstBoot() {
	const version = `Microsoft\Windows\CurrentVersion`
	where := ""
	if h, err := p.hive("SOFTWARE"); err != nil {
		p.find(Warning, "Windows will not look for the packages of the drivers", "its SOFTWARE hive cannot be read", `install those in C:\Windows\Drivers\VirtIO by hand`)
		return
	} else if k, err := h.Key(version); err == nil {
		where = k.Text("DevicePath")
	}
	var all []Entry
	if where = cmp.Or(where, `%SystemRoot%\inf`); !strings.Contains(strings.ToLower(where), strings.ToLower(packages)) {
		all = append(all, Entry{version, "DevicePath", registry.Expand(where + ";" + packages)})
	}
	if !slices.Contains(noInstaller, p.r.OS.ID) {
		all = append(all, Entry{version + `\RunOnce`, "DrovewayVirtIO", registry.Text(`cmd.exe /c pnputil -i -a ` + packages + `\*.inf`)})
	}
	p.step(Step{Name: "firstboot", What: "have Windows install the drivers at its first boot", Why: "it takes packages from folders that it knows", Software: all})
}

// Entries are what Windows must have in its registry to start the driver. From
// Windows 8 on it has a driver database; before, a list of critical devices.
func (d *Driver) Entries(database bool) []Entry {
	service := `${control}\Services\` + d.Name
	all := []Entry{
		{service, "Type", registry.Number(1)},
		{service, "Start", registry.Number(d.Start)},
		{service, "ErrorControl", registry.Number(1)},
		{service, "Group", registry.Text(d.Group)},
		{service, "ImagePath", registry.Expand(`system32\drivers\` + d.Name + ".sys")},
	}
	if !d.Boot {
		return all
	}
	all = append(all,
		Entry{service + `\Parameters`, "BusType", registry.Number(d.Bus)},
		Entry{service + `\Parameters\PnpInterface`, "5", registry.Number(1)})
	if database {
		return append(all, d.database()...)
	}
	for _, id := range d.Devices {
		key := `${control}\Control\CriticalDeviceDatabase\PCI#` + id
		all = append(all, Entry{key, "Service", registry.Text(d.Name)}, Entry{key, "ClassGUID", registry.Text(classSCSI)})
	}
	return all
}

// database describes an installed driver package of our own making, which Windows
// replaces by a real one when it finds the device.
func (d *Driver) database() []Entry {
	const root = `DriverDatabase\`
	inf, configuration := "droveway_"+d.Name+".inf", d.Name+"_conf"
	label := inf + "_droveway"
	files, packages := root+`DriverInfFiles\`+inf, root+`DriverPackages\`+label
	version := append([]byte("\x00\xff\x09\x00\x00\x00\x00\x00"+classSCSIBinary), make([]byte, 24)...)
	all := []Entry{
		{files, "", registry.Texts(label)},
		{files, "Active", registry.Text(label)},
		{files, "Configurations", registry.Texts(configuration)},
		{packages, "Version", registry.Binary(version)},
		{packages + `\Configurations\` + configuration, "ConfigFlags", registry.Number(0)},
		{packages + `\Configurations\` + configuration, "Service", registry.Text(d.Name)},
	}
	for _, id := range d.Devices {
		all = append(all,
			Entry{root + `DeviceIds\PCI\` + id, inf, registry.Binary([]byte{1, 0xff, 0, 0})},
			Entry{packages + `\Descriptors\PCI\` + id, "Configuration", registry.Text(configuration)})
	}
	return all
}

// Write sets entries in a hive.
func Write(e *registry.Editor, entries []Entry) error {
	control, err := e.ControlSet()
	if err != nil {
		return err
	}
	for _, n := range entries {
		if err := e.Set(fill([]string{n.Key}, "${control}", control)[0], n.Name, n.Value); err != nil {
			return err
		}
	}
	return nil
}
