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
)

// Limits of one inspection.
const (
	maxBytes   = 8 << 30 // read through the cache
	maxTime    = 2 * time.Minute
	maxVolumes = 300
)

// File inspects the image in a file. The catalog says which systems are known.
func File(ctx context.Context, path string, c *identify.Catalog) (*Report, error) {
	i, err := format.Open(path)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	return Disk(ctx, i, c)
}

// Disk inspects an open image.
func Disk(ctx context.Context, i *format.Image, c *identify.Catalog) (report *Report, err error) {
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
	budget := block.NewBudget(ctx, block.Cache(i, i.Size), maxBytes)
	s := &inspection{
		disk: budget, size: i.Size, catalog: c,
		report: &Report{Image: Image{Format: string(i.Kind), Variant: i.Variant, Member: i.Inside, Size: i.Size}, Preflight: []Finding{}},
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "inspect the image: %w", context.Cause(ctx))
	}
	s.report.ReadBytes, s.report.TookMS = budget.Spent(), time.Since(began).Milliseconds()
	return s.report, nil
}

// inspection is one run: first how the disk is divided, then what is in it.
type inspection struct {
	disk    io.ReaderAt
	size    int64
	catalog *identify.Catalog
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
	found filesystem.Volume
	alias []string // other names of it, as in fstab
}

func (s *inspection) run() error {
	table, err := disk.ReadTable(s.disk, s.size)
	if err != nil {
		return err
	}
	s.report.Disk = table
	s.report.Notes = append(s.report.Notes, table.Notes...)
	s.findVolumes()
	roots := s.findRoots()
	if len(roots) > 0 {
		s.openRoot(roots)
	}
	s.openUSR()
	s.identify()
	switch {
	case s.windows != nil:
		s.windowsFacts()
	case s.tree != nil:
		s.facts()
	}
	s.firmware()
	for _, v := range s.volumes {
		s.report.Volumes = append(s.report.Volumes, v.Volume)
	}
	s.preflight()
	return nil
}

func (s *inspection) note(format string, args ...any) {
	s.report.Notes = append(s.report.Notes, fmt.Sprintf(format, args...))
}
