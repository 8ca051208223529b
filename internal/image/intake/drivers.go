package intake

import (
	"context"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/preflight"
)

// prepared are the wishes of an import with its keys, and with the disc of drivers open
// until done is called.
func (w work) prepared(ctx context.Context, r *run) (wishes preflight.Wishes, done func(), err error) {
	if wishes, err = w.unlocking(r); err != nil {
		return wishes, nil, err
	}
	return w.withDrivers(ctx, wishes, w.VirtioWin)
}

// withDrivers adds a disc of drivers to wishes, if an image of one is named.
func (i *Intake) withDrivers(ctx context.Context, w preflight.Wishes, name string) (_ preflight.Wishes, done func(), err error) {
	if name == "" {
		return w, func() {}, nil
	}
	if err = i.ready(ctx, name); err == nil {
		w.VirtioWin, done, err = preflight.Drivers(i.cfg.Library.Path(name))
	}
	if err != nil {
		return w, nil, droveway.Errorf(droveway.KindOf(err), "drivers for Windows from image %s: %w", name, err)
	}
	return w, done, nil
}

// ready reports whether an image of the library is there. A name is no path: it leads
// to nothing else on the server.
func (i *Intake) ready(ctx context.Context, name string) error {
	if err := droveway.ValidName("image", name); err != nil {
		return err
	}
	img, _, err := i.cfg.Fleet.Images.Get(ctx, name)
	switch {
	case droveway.Is(err, droveway.NotFound):
		return droveway.Errorf(droveway.NotFound, "there is no such image: import the disc first: droveway image import %s virtio-win.iso", name)
	case err == nil && img.Job != "":
		return droveway.Errorf(droveway.Conflict, "it is being imported by job %s: wait for it", img.Job)
	}
	return err
}

// refuseWindows refuses a Windows that would not start here: it could not say why, and
// what to do about it is known. Whoever wants it as it is says so.
func (w work) refuseWindows(r *run) error {
	if w.Repair == droveway.RepairNone {
		return nil
	}
	for _, name := range r.State.Images {
		s := r.State.Found[name].System
		if s != nil && s.Family == windows && s.Needed && s.Blocked {
			return droveway.Errorf(droveway.Conflict, "image %s is a Windows that would not run here: %s; --repair none imports it as it is", name, strings.Join(blockers(s), "; "))
		}
	}
	return nil
}

// windows is the family of systems that no check of the console can tell much about.
const windows = "windows"

// took looks whether the repair of a Windows has brought what it was to bring: it is not
// certain that its boot shows that.
func took(ctx context.Context, path string, w preflight.Wishes) error {
	res, err := preflight.File(ctx, path, w)
	if err != nil {
		return err
	}
	s := res.System()
	if s.Family != windows {
		return droveway.Errorf(droveway.Internal, "after its repair it is not recognised any more")
	}
	lacking := blockers(s)
	if s.Needed {
		for _, c := range s.Steps {
			lacking = append(lacking, c.What)
		}
	}
	if len(lacking) > 0 {
		return droveway.Errorf(droveway.Internal, "after its repair it still needs one: %s", strings.Join(lacking, "; "))
	}
	return nil
}
