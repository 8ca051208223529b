package repair

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/registry"
)

// The classes of devices of the drivers, and how Windows writes the first in binary.
const (
	classSCSI       = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
	classSCSIBinary = "\x7b\xe9\x36\x4d\x25\xe3\xce\x11\xbf\xc1\x08\x00\x2b\xe1\x03\x18"
)

// Entry is a value that is set in the hive SYSTEM. In its key, ${control} is the
// current control set.
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
	switch {
	case d == nil:
		p.find(Warning, "the drivers of this Windows cannot be seen", "its SYSTEM hive cannot be read", "")
		return
	case !d.Block && !d.SCSI:
		p.find(Blocker, "Windows has no virtio driver that starts at boot", "it would stop with INACCESSIBLE_BOOT_DEVICE on a virtio disk", "install the virtio drivers before")
	case !d.Net:
		p.find(Warning, "Windows has no virtio driver for the network", "it would see no network card", "install the virtio drivers before")
	}
	for _, driver := range p.windows.Drivers {
		if has := map[string]bool{"viostor": d.Block, "vioscsi": d.SCSI, "netkvm": d.Net}; !has[driver.Name] {
			p.driver(driver)
		}
	}
}

// architectures are the folders of a virtio-win ISO.
var architectures = map[string]string{"x86_64": "amd64", "i686": "x86", "aarch64": "ARM64"}

func (p *planner) driver(d Driver) {
	folder, arch := p.windows.Folders[p.r.OS.ID], architectures[p.r.System.Architecture]
	if folder == "" || arch == "" {
		return
	}
	database := p.r.System.Windows.Database
	p.step(Step{
		Name: "driver", What: "put the driver " + d.Name + " in place", Why: "Windows loads no driver by itself that it needs to find its disk",
		Files:    []File{{Path: "/Windows/System32/drivers/" + d.Name + ".sys", From: fmt.Sprintf("virtio-win:%s/%s/%s/%s.sys", isoName(d.Name), folder, arch, d.Name)}},
		Registry: d.Entries(database),
	})
}

// isoName is the folder of a driver on a virtio-win ISO.
func isoName(driver string) string {
	if driver == "netkvm" {
		return "NetKVM"
	}
	return driver
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

// Write sets entries in a hive SYSTEM.
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

// Drivers are the virtio drivers of Windows, by the names given; all of them for
// none.
func Drivers(names ...string) ([]Driver, error) {
	r, err := load()
	if err != nil || len(names) == 0 {
		return r.windows.Drivers, err
	}
	var some []Driver
	for _, name := range names {
		i := slices.IndexFunc(r.windows.Drivers, func(d Driver) bool { return d.Name == name })
		if i < 0 {
			return nil, droveway.Errorf(droveway.NotFound, "no driver %q for Windows is known", name)
		}
		some = append(some, r.windows.Drivers[i])
	}
	return some, nil
}
