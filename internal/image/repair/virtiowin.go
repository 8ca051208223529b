package repair

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

// FromVirtioWin is what the name of a file begins with that comes from the disc of
// drivers.
const FromVirtioWin = "virtio-win:"

// Limits of what is taken from a disc.
const (
	maxDriverFile  = 16 << 20 // bytes
	maxDriverFiles = 32       // of one driver
)

// VirtioWin is a disc of drivers for Windows as the project virtio-win makes them: they
// are in folders as viostor/w10/amd64.
type VirtioWin struct{ tree *filesystem.Tree }

// OpenVirtioWin opens such a disc, which must stay open. One that is none is Invalid.
func OpenVirtioWin(r io.ReaderAt, size int64) (*VirtioWin, error) {
	found := probe.Look(r, size)
	if found.Kind != "iso9660" || found.Volume == nil {
		return nil, notVirtioWin("it is no ISO 9660")
	}
	root, err := found.Volume.Root()
	if err != nil {
		return nil, err
	}
	v := &VirtioWin{filesystem.NewTree(root, true)}
	if !v.tree.IsDir("viostor") {
		return nil, notVirtioWin("it has no folder viostor")
	}
	return v, nil
}

func notVirtioWin(why string) error {
	return droveway.Errorf(droveway.Invalid, "this is no disc of virtio drivers for Windows: %s: give virtio-win.iso of the project virtio-win", why)
}

// of lists the files of a driver in the first of the folders that has it, without what
// only debuggers read.
func (v *VirtioWin) of(driver string, folders []string, arch string) []string {
	for _, folder := range folders {
		dir := path.Join(isoName(driver), folder, arch)
		names, err := v.tree.ReadDir(dir)
		if err != nil || !v.tree.Exists(path.Join(dir, driver+".sys")) {
			continue
		}
		var files []string
		for _, n := range names {
			file := path.Join(dir, n)
			if v.tree.Mode(file).IsRegular() && !strings.EqualFold(path.Ext(n), ".pdb") && len(files) < maxDriverFiles {
				files = append(files, file)
			}
		}
		return files
	}
	return nil
}

// Read reads a file that a plan takes from the disc, by its name with or without
// FromVirtioWin.
func (v *VirtioWin) Read(name string) ([]byte, error) {
	name = strings.TrimPrefix(name, FromVirtioWin)
	n, err := v.tree.Open(name)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "disc of drivers: %w", err)
	}
	if n.Stat().Size > maxDriverFile {
		return nil, droveway.Errorf(droveway.Invalid, "disc of drivers: %s has more than %d MiB", name, maxDriverFile>>20)
	}
	return v.tree.ReadFile(name, maxDriverFile)
}

// isoName is the folder of a driver on the disc.
func isoName(driver string) string {
	if driver == "netkvm" {
		return "NetKVM"
	}
	return driver
}

// wanted says where on a disc a driver is looked for.
func wanted(driver string, folders []string, arch string) string {
	var all []string
	for _, f := range folders {
		all = append(all, fmt.Sprintf("%s/%s/%s", isoName(driver), f, arch))
	}
	return strings.Join(all, ", ")
}
