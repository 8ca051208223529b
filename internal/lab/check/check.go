// Package check holds a guest's disk against what its observer noted: every
// record that was acknowledged has to be there. It reads disks and writes
// nothing but temporary copies.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/observer"
	"github.com/droveway/droveway/internal/lab/record"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// Result is what a disk shows.
type Result struct {
	Acknowledged uint64   `json:"acknowledged"` // the greatest Seq that was reported as durable
	Newest       uint64   `json:"newest"`       // the greatest Seq on the disk
	Lost         uint64   `json:"lost"`         // acknowledged records that are not there
	Missing      []uint64 `json:"missing,omitempty"`
}

// maxMissing bounds how many lost records are named.
const maxMissing = 20

// Region reads the records of a region of size bytes. The guest must not write
// meanwhile.
func Region(region io.ReaderAt, size int64, s observer.Summary) (Result, error) {
	area, err := record.NewArea(size)
	if err != nil {
		return Result{}, err
	}
	found, newest, err := area.Scan(region, func() []byte { return make([]byte, record.Size) })
	if err != nil {
		return Result{}, err
	}
	r := Result{Acknowledged: s.Acknowledged(), Newest: newest.Seq, Lost: s.Rewound()}
	// Older records than those of the last ring were overwritten on purpose.
	oldest := uint64(1)
	if r.Acknowledged > area.Slots {
		oldest = r.Acknowledged - area.Slots + 1
	}
	for seq := oldest; seq <= r.Acknowledged; seq++ {
		if found[area.Slot(seq)].Seq >= seq {
			continue
		}
		r.Lost++
		if len(r.Missing) < maxMissing {
			r.Missing = append(r.Missing, seq)
		}
	}
	return r, nil
}

// Tiny checks the disk of a tiny guest.
func Tiny(ctx context.Context, disk string, format droveway.Format, s observer.Summary) (Result, error) {
	var r Result
	err := withRaw(ctx, disk, format, func(raw string) error {
		f, err := os.Open(raw)
		if err != nil {
			return err
		}
		defer f.Close()
		offset, size, err := tinyimage.Records(f)
		if err != nil {
			return err
		}
		r, err = Region(io.NewSectionReader(f, offset, size), size, s)
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("check disk %s: %w", disk, err)
	}
	return r, nil
}

// withRaw calls f with a raw view of a disk: itself, or a copy.
func withRaw(ctx context.Context, disk string, format droveway.Format, f func(raw string) error) error {
	if format == droveway.Raw {
		return f(disk)
	}
	return withCopy(ctx, disk, format, 0, f)
}

// withCopy calls f with a raw copy of a disk from an offset on, in a directory of
// its own. f may change the copy.
func withCopy(ctx context.Context, disk string, format droveway.Format, offset int64, f func(raw string) error) (err error) {
	dir, err := os.MkdirTemp("", "droveway-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	raw := filepath.Join(dir, "raw")
	from := fmt.Sprintf("driver=raw,offset=%d,file.driver=%s,file.file.driver=file,file.file.filename=%s",
		offset, format, strings.ReplaceAll(disk, ",", ",,"))
	// A running guest holds a lock on its disk; we only read.
	convert := exec.CommandContext(ctx, "qemu-img", "convert", "--force-share", "--image-opts", "-O", "raw", from, raw)
	if out, err := convert.CombinedOutput(); err != nil {
		return fmt.Errorf("copy: %w: %s", err, out)
	}
	return f(raw)
}
