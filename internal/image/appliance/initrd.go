package appliance

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/initramfs"
	"github.com/droveway/droveway/internal/image/kernel"
)

// self is this program, whatever has become of its file.
const self = "/proc/self/exe"

// writeInitrd writes the appliance's first file system: the program, modules, what mounts
// NTFS, the order.
func (a *Appliance) writeInitrd(to io.Writer, order wire.Order, modules []kernel.Module, bundle map[string]string) error {
	program, err := slim(cmp.Or(a.cfg.Init, self))
	if err != nil {
		return err
	}
	w := initramfs.NewWriter(to)
	dir := path.Base(wire.Modules)
	for _, d := range []string{"dev", "proc", "sys", "run", "guest", dir} {
		w.Dir(d)
	}
	w.Device("dev/console", 5, 1)
	for i, m := range modules {
		name := fmt.Sprintf("%02d-%s.ko", i, m.Name)
		order.Modules = append(order.Modules, name)
		w.File(path.Join(dir, name), 0o644, m.Data)
	}
	if err := writeBundle(w, bundle); err != nil {
		return err
	}
	b, err := json.Marshal(order)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "write the order: %w", err)
	}
	w.File(path.Base(wire.OrderFile), 0o600, b)
	w.File(path.Base(wire.Program), 0o755, program)
	return w.Close()
}

// writeBundle writes a program and its libraries, if there are any.
func writeBundle(w *initramfs.Writer, bundle map[string]string) error {
	if len(bundle) == 0 {
		return nil
	}
	dir := path.Base(wire.NTFS)
	w.Dir(dir)
	for _, name := range slices.Sorted(maps.Keys(bundle)) {
		b, err := readable(bundle[name])
		if err != nil {
			return err
		}
		w.File(path.Join(dir, name), 0o755, b)
	}
	return nil
}

// Places in the header of a 64-bit ELF file.
const (
	elfSections      = 0x28
	elfSectionCount  = 0x3c
	elfSectionsNames = 0x3e
)

// slim reads a program without what only debuggers read: less to copy where the
// processor is emulated.
func slim(file string) ([]byte, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "read the program of the appliance: %w", err)
	}
	defer f.Close()
	var end uint64
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			return nil, droveway.Errorf(droveway.Unsupported, "%s needs libraries of this host, which the appliance lacks: build it with CGO_ENABLED=0", file)
		case elf.PT_LOAD:
			end = max(end, p.Off+p.Filesz)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil || end > uint64(len(b)) {
		return nil, droveway.Errorf(droveway.Internal, "read the program of the appliance: %w", err)
	}
	b = b[:end]
	binary.LittleEndian.PutUint64(b[elfSections:], 0)
	binary.LittleEndian.PutUint16(b[elfSectionCount:], 0)
	binary.LittleEndian.PutUint16(b[elfSectionsNames:], 0)
	return b, nil
}
