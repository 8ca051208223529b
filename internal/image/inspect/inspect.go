package inspect

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/survey"
)

// Limits of one inspection.
const (
	maxBytes   = 8 << 30 // read through the cache
	maxTime    = 2 * time.Minute
	maxVolumes = 300
	maxDrives  = 16 // as many as a machine may have; each has up to 8 MiB of unpacked clusters
)

// Options are what an inspection is told.
type Options struct {
	Catalog *identify.Catalog // the systems that are known
	Keys    []luks.Key        // for encrypted volumes
	// OneOfMany says that keys may be for other disks: that they open nothing on this
	// one is no error. UnusedKeys judges them when all disks were inspected.
	OneOfMany bool
	// Then, unless it is nil, is given the result and the files of the system while
	// the disk is open; it is no part of what the result says it took. There are
	// no files, and the tree is nil, if no system was found.
	Then func(*Report, *filesystem.Tree) error
}

// File inspects the image in a file; of an archive the first disk. What an import would
// refuse as no disk is refused.
func File(ctx context.Context, path string, o Options) (*Report, error) {
	i, err := format.Open(path)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	if err := survey.IsDisk(i); err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "image %s: %w", path, err)
	}
	return Disk(ctx, i, o)
}

// Disk inspects an open image.
func Disk(ctx context.Context, i *format.Image, o Options) (*Report, error) {
	return Disks(ctx, []*format.Image{i}, o)
}

// Disks inspects the disks of one machine, in the order in which it has them, as one: what
// spans them is joined. The limits are those of one disk, for all of them.
func Disks(ctx context.Context, images []*format.Image, o Options) (report *Report, err error) {
	if len(images) == 0 || len(images) > maxDrives {
		return nil, droveway.Errorf(droveway.Invalid, "inspect the image: %d disks: one machine has 1 to %d: look at each by itself", len(images), maxDrives)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("it takes more than %s: the disk is damaged or hostile", maxTime))
	defer cancel()
	// The readers check what they read; should one of them slip, the damage
	// is this image's alone and not the caller's.
	defer func() {
		if p := recover(); p != nil {
			report, err = nil, droveway.Errorf(droveway.Internal, "inspect the image: a reader failed on it: %v", p)
		}
	}()
	began := time.Now()
	all := inARow(images)
	budget := block.NewBudget(ctx, block.Cache(all, all.size), maxBytes)
	s := &inspection{ctx: ctx, catalog: o.Catalog, keys: o.Keys, report: &Report{}}
	if err := s.addDrives(images, all, budget); err != nil {
		return nil, err
	}
	if err := s.run(o.OneOfMany); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "inspect the image: %w", context.Cause(ctx))
	}
	s.report.ReadBytes, s.report.TookMS = budget.Spent(), time.Since(began).Milliseconds()
	if o.Then == nil {
		return s.report, nil
	}
	return s.report, o.Then(s.report, s.tree)
}

// inspection is one run: first how the disks are divided, then what is in it.
type inspection struct {
	ctx     context.Context // of the one run
	drives  []*drive
	order   []*drive // as fstab counts them; nil: not known yet
	half    int      // of several disks the one that a system on a mirror is taken from; 0: none
	catalog *identify.Catalog
	keys    []luks.Key

	report  *Report
	volumes []*volume
	tree    *filesystem.Tree
	windows *windows // nil: another system
}

// volume is a Volume and what is needed to read it.
type volume struct {
	Volume
	r     io.ReaderAt
	part  *disk.Part
	drive *drive // nil: it is made of other volumes
	found filesystem.Volume
	alias []string // other names of it, as in fstab

	parts  []string // names of the volumes it is made of
	array  string   // UUID, if it is an array of MD
	mirror bool     // it is one of level 1
	half   int      // the disk that it is taken from, if it is a mirror over several

	locked *luks.Container // of an encrypted volume
	inside *volume         // what it holds, once unlocked
}

func (s *inspection) run(oneOfMany bool) error {
	s.findVolumes()
	s.listVolumes()
	if !oneOfMany {
		if err := UnusedKeys(s.keys, s.report); err != nil {
			return err
		}
	}
	roots := s.findRoots()
	if len(roots) > 0 {
		s.openRoot(roots)
	}
	s.openUSR()
	s.halve() // again: by now it is known what is mounted
	s.boot()
	s.identify()
	switch {
	case s.windows != nil:
		s.windowsFacts()
	case s.tree != nil:
		s.facts()
	}
	s.firmware()
	s.describeDrives()
	s.listVolumes() // again: by now it is known where they are mounted
	return nil
}

func (s *inspection) listVolumes() {
	s.report.Volumes = s.report.Volumes[:0]
	for _, v := range s.volumes {
		s.report.Volumes = append(s.report.Volumes, v.Volume)
	}
}

func (s *inspection) note(format string, args ...any) {
	s.report.Notes = append(s.report.Notes, fmt.Sprintf(format, args...))
}
