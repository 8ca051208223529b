package volume

import (
	"context"
	"path/filepath"
	"strconv"

	"github.com/droveway/droveway"
)

// lacks is the backing file that the header of a volume names which has not all its
// bytes. There is none of that name: who opens the volume without knowing better
// fails, instead of reading zeroes.
const lacks = "droveway-origin-of-what-is-not-here-yet"

// CreateLacking makes a volume in qcow2 that has none of its bytes: they come from
// an origin, which whoever opens the volume has to give. A volume that is there is
// treated as by Create, however much it has by now.
func (p *Pool) CreateLacking(ctx context.Context, name string, sizeBytes int64) error {
	if sizeBytes == 0 {
		return droveway.Errorf(droveway.Invalid, "volume %s of size 0: give a size", name)
	}
	return p.make(ctx, name, droveway.QCOW2, sizeBytes, func(dir string) (string, error) {
		path := filepath.Join(dir, "lacking")
		_, err := mustRun(ctx, copying(0), "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", lacks, path, strconv.FormatInt(sizeBytes, 10))
		return path, err
	})
}

// Whole reports whether a volume has all its bytes, also while one uses it.
func (p *Pool) Whole(name string) (bool, error) {
	path, format, err := p.Path(name)
	if err != nil || format == droveway.Raw {
		return err == nil, err
	}
	start, _, err := readStart(path)
	if err != nil {
		return false, err
	}
	h, err := parseQCOW2(start)
	if err != nil {
		return false, droveway.Errorf(droveway.KindOf(err), "volume %s: %w", name, err)
	}
	return h.backing == 0, nil
}
