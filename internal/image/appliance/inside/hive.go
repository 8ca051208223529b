package inside

import (
	"os"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/registry"
	"github.com/droveway/droveway/internal/image/repair"
)

// maxHive is the largest hive that the appliance's memory is enough for, in bytes.
const maxHive = 160 << 20

// hive sets values in a hive of a Windows: the new hive is on the disk before it takes
// the old one's place. The logs beside it stay: Windows reads them only where a hive was
// not written to its end, and such a one is refused.
func (w *writer) hive(h wire.Hive) error {
	b, err := changed(h)
	if err != nil {
		return droveway.Errorf(droveway.KindOf(err), "change %s: %w", h.Path, err)
	}
	return w.write(repair.File{Path: h.Path, Data: b})
}

func changed(h wire.Hive) ([]byte, error) {
	info, err := os.Stat(h.Path)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "%w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxHive {
		return nil, droveway.Errorf(droveway.Unsupported, "it is no file of at most %d MiB", maxHive>>20)
	}
	b, err := os.ReadFile(h.Path)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "%w", err)
	}
	e, err := registry.Edit(b, time.Now())
	if err != nil {
		return nil, err
	}
	var all []repair.Entry
	for _, v := range h.Set {
		all = append(all, repair.Entry{Key: v.Key, Name: v.Name, Value: registry.Raw(v.Type, v.Data)})
	}
	if err := repair.Write(e, all); err != nil {
		return nil, err
	}
	return e.Bytes()
}
