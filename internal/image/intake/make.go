package intake

import (
	"context"
	"errors"
	"strconv"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/stage"
	"github.com/droveway/droveway/internal/image/survey"
)

// opened is a source that has arrived.
type opened struct {
	*survey.Source
	path, sum string
}

// passing gives another attempt to what is only in somebody's hands for now: who asks
// how far an upload is, or what it would become, opens it, too.
func passing(err error) error {
	if errors.Is(err, stage.ErrOpen) {
		return droveway.Errorf(droveway.Unavailable, "%w", err)
	}
	return err
}

// mine opens what has arrived for the job.
func (w work) mine() (*stage.File, error) {
	f, err := w.whole(w.Stage)
	return f, passing(err)
}

// arrived opens what has arrived. The job has it to itself, through its claim on
// the name.
func (w work) arrived() (*opened, error) {
	f, err := w.mine()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := survey.OpenAlone(f.Path())
	if err != nil {
		return nil, err
	}
	return &opened{s, f.Path(), f.SHA256()}, nil
}

// examine checks the checksums, and finds out which images there will be.
func (w work) examine(ctx context.Context, r *run) error {
	f, err := w.mine()
	if err != nil {
		return err
	}
	r.State.SHA256 = f.SHA256()
	_ = f.Close() // nothing was written
	// Before anybody looks at what it is: a file that was cut is no image at all.
	if err := image.CheckSHA256(w.SHA256, r.State.SHA256); err != nil {
		return err
	}
	s, err := w.arrived()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Verify(ctx, newMeter(r, s.Bytes, 0).show); err != nil {
		return err
	}
	disks, err := s.Pick(w.Disk)
	if err != nil {
		return err
	}
	for _, n := range s.Notes {
		r.State.note(n)
	}
	if r.State.Images, err = survey.Names(w.Name, len(disks)); err != nil {
		return err
	}
	return w.claimDisks(ctx, r)
}

// claimDisks takes the names of several images. They are in the journal first, so
// that a kill leaves none behind.
func (w work) claimDisks(ctx context.Context, r *run) error {
	if err := r.Save(ctx); err != nil {
		return err
	}
	for _, name := range r.State.Images {
		if name == w.Name {
			continue
		}
		if err := w.claimName(ctx, name, r.Job); err != nil {
			return err
		}
	}
	return nil
}

// convert makes the images. After a kill those that are made are not made again, and
// the one under way goes on.
func (w work) convert(ctx context.Context, r *run) error {
	s, err := w.arrived()
	if err != nil {
		return err
	}
	defer s.Close()
	disks, err := s.Pick(w.Disk)
	if err != nil {
		return err
	}
	var total, before int64
	for _, d := range disks {
		total += d.Size
	}
	m := newMeter(r, total, 0)
	for k, d := range disks {
		img := droveway.Image{Meta: droveway.Meta{Name: r.State.Images[k]}, Job: r.Job, Source: &droveway.ImageSource{
			Location: w.Location, Format: s.Format, Member: d.Member, Bytes: s.Bytes, SHA256: s.sum,
		}}
		part := w.stage.Beside(w.Stage, strconv.Itoa(k)+".qcow2")
		_, err := w.cfg.Library.Make(ctx, img, image.Disk{Source: s.Source, Disk: d, Path: s.path, Part: part}, func(done int64) { m.show(before + done) })
		if err != nil {
			return permanent(err)
		}
		before += d.Size
	}
	return nil
}

// removeMade removes the images of this job.
func (w work) removeMade(_ context.Context, r *run) error {
	for _, name := range r.State.Images {
		have, err := w.cfg.Library.Get(name)
		if droveway.Is(err, droveway.NotFound) || err == nil && have.Job != r.Job {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.cfg.Library.Remove(name); err != nil {
			return err
		}
	}
	return nil
}
