package kernel

import (
	"bytes"
	"io"
	"os"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/initramfs"
)

// Module is a module's file, unpacked.
type Module struct {
	Name string
	Data []byte
}

// Load reads modules and what they need, in the order in which they can be loaded.
// NotFound for one that the kernel has not.
func (k *Kernel) Load(wanted []string) ([]Module, error) {
	var order []Module
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || k.builtin[name] {
			return nil
		}
		seen[name] = true
		path, ok := k.files[name]
		if !ok {
			return droveway.Errorf(droveway.NotFound, "kernel %s has no module %s", k.Version, name)
		}
		m, needs, err := readModule(name, path)
		if err != nil {
			return droveway.Errorf(droveway.KindOf(err), "kernel module %s: %w", path, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, m)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// maxModule is how large a module may be, unpacked.
const maxModule = 64 << 20

// readModule also gives the names of those that it says it needs.
func readModule(name, path string) (Module, []string, error) {
	f, err := os.Open(path)
	if err != nil {
		return Module{}, nil, droveway.Errorf(droveway.Unavailable, "%w", err)
	}
	defer f.Close()
	r, err := initramfs.Unpack(f)
	if err != nil {
		return Module{}, nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxModule))
	if err != nil {
		return Module{}, nil, droveway.Errorf(droveway.Invalid, "%w", err)
	}
	needs, err := initramfs.ModuleNeeds(bytes.NewReader(data))
	return Module{name, data}, needs, err
}
