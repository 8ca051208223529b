package intake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/bootcheck"
	"github.com/droveway/droveway/internal/image/preflight"
	"github.com/droveway/droveway/internal/volume"
)

// found is what the disk of an image holds, and what is done with it.
type found struct {
	System *droveway.ImageSystem `json:"system,omitempty"` // nil: it could not be looked at
	Twin   *preflight.Twin       `json:"half,omitempty"`   // of its mirror another image has the better half
	Lacks  []string              `json:"lacks,omitempty"`  // volumes that could not be read
	Repair bool                  `json:"repair,omitempty"`
	Check  bool                  `json:"check,omitempty"`

	Changes []droveway.Change   `json:"changes,omitempty"`
	Boot    *droveway.BootCheck `json:"boot,omitempty"`
}

// describe tells an image what was found out of it.
func (f *found) describe(i *droveway.Image) {
	if f == nil || f.System == nil {
		return
	}
	i.System, i.Firmware, i.Changes, i.Boot = f.System, preflight.Firmware(f.System), f.Changes, f.Boot
}

// enter shows the state of an image. The record may be gone in an undo that goes on.
func (w work) enter(ctx context.Context, r *run, name string, s droveway.ImageState) error {
	_, err := w.cfg.Fleet.Images.Update(ctx, name, func(i *droveway.Image) error {
		if i.Job != r.Job {
			return droveway.Errorf(droveway.Conflict, "image %s belongs to job %q now", name, i.Job)
		}
		i.State = s
		return nil
	})
	return err
}

// inspect finds out what the images hold. An image that cannot be inspected can be
// imported nevertheless, as it is.
func (w work) inspect(ctx context.Context, r *run) error {
	wishes, done, err := w.prepared(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	all := map[string]*found{}
	looked := make([]*preflight.Result, len(r.State.Images))
	for k, name := range r.State.Images {
		if err := w.enter(ctx, r, name, droveway.ImageInspecting); err != nil {
			return err
		}
		all[name] = &found{}
		res, err := preflight.File(ctx, w.cfg.Library.Path(name), wishes)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && w.Locked {
			return droveway.Errorf(droveway.KindOf(err), "image %s: %w", name, err) // who gives a key wants it used
		}
		state := droveway.ImageUnsupported
		if err != nil {
			r.State.note(fmt.Sprintf("image %s was not inspected, and is imported as it is: %v", name, err))
		} else {
			looked[k] = res
			all[name].System, all[name].Lacks = res.System(), res.Lacks()
			state = all[name].System.Status
		}
		if err := w.enter(ctx, r, name, state); err != nil {
			return err
		}
	}
	for name, twin := range preflight.Twins(r.State.Images, looked) {
		all[name].Twin = &twin
	}
	r.State.Found = all
	return preflight.UnusedKeys(wishes, looked)
}

// plan decides what is repaired and what is booted. What was asked for by name and
// cannot be done is refused; what would only be better is a note.
func (w work) plan(ctx context.Context, r *run) error {
	asked := w.request()
	if err := w.able(ctx, asked); err != nil {
		return err
	}
	if err := w.refuse(r); err != nil {
		return err
	}
	if text := spanning(r); text != "" {
		r.State.note("no system was looked into, and the images are imported as they are" + text)
	}
	for _, name := range r.State.Images {
		f := r.State.Found[name]
		f.Repair = preflight.Repairs(w.Repair, f.System)
		if f.Repair && !asked.insists() {
			f.Repair = w.can(r, name, "needs a repair", w.mayRepair(ctx))
		}
		if f.Twin != nil && (f.Repair || f.Twin.Older) {
			f.Repair = false
			r.State.note(f.Twin.Note)
		}
		if err := w.planCheck(ctx, r, name, f); err != nil {
			return err
		}
		w.noteAddresses(r, name, f)
		for _, why := range blockers(f.System) {
			r.State.note(fmt.Sprintf("image %s will not run: %s", name, why))
		}
	}
	return nil
}

// noteAddresses says so if addresses were to be given up, and there are none that can be.
func (w work) noteAddresses(r *run, name string, f *found) {
	gives := func(c droveway.PlannedChange) bool { return c.Step == "dhcp" }
	if w.Addresses != droveway.AddressesDHCP || f.Repair && slices.ContainsFunc(f.System.Steps, gives) {
		return
	}
	r.State.note(fmt.Sprintf("image %s: no address was given up for DHCP: it has no fixed one in a file that can be changed, or cannot be repaired", name))
}

func (w work) planCheck(ctx context.Context, r *run, name string, f *found) error {
	f.Check = preflight.Checks(w.Check, f.System, f.Repair)
	if w.Check == droveway.CheckBoot && len(r.State.Images) == 1 {
		f.Check = true // whatever was seen of it
	}
	if !f.Check {
		return nil
	}
	if w.Check == droveway.CheckBoot {
		return w.mayBoot(ctx, f.firmware())
	}
	f.Check = w.can(r, name, "is not booted after its repair", w.mayBoot(ctx, f.firmware()))
	return nil
}

// firmware is what machines get that are made from the image.
func (f *found) firmware() droveway.Firmware {
	if f.System == nil {
		return ""
	}
	return preflight.Firmware(f.System)
}

// refuse refuses a repair that was asked for by name and must not be made. Disks of
// data beside that of the system are not meant.
func (w work) refuse(r *run) error {
	if err := w.refuseWindows(r); err != nil {
		return err
	}
	if w.Repair != droveway.RepairForce {
		return nil
	}
	known, locked := false, ""
	for _, name := range r.State.Images {
		s := r.State.Found[name].System
		locked += lockedText(s)
		if s == nil || s.Status != droveway.ImageIdentified {
			continue
		}
		if known = true; s.Blocked {
			return droveway.Errorf(droveway.Conflict, "image %s cannot be repaired: %s", name, strings.Join(blockers(s), "; "))
		}
	}
	if !known {
		return droveway.Errorf(droveway.Unsupported, "image %s cannot be repaired: no system was identified on it, and nothing is changed in what is not known%s%s: look at it with droveway image inspect, or import it with --repair none", w.Name, locked, spanning(r))
	}
	return nil
}

// spanning says what could not be read of several disks, if there is a system on none of
// them: it may span them, and each is looked at by itself.
func spanning(r *run) (text string) {
	if len(r.State.Images) == 1 {
		return ""
	}
	for _, name := range r.State.Images {
		f := r.State.Found[name]
		if f.System != nil && f.System.Status == droveway.ImageIdentified {
			return ""
		}
		for _, l := range f.Lacks {
			text += "; image " + name + ", " + l
		}
	}
	return text
}

// lockedText says which volumes could not be looked into, and what to give.
func lockedText(s *droveway.ImageSystem) (text string) {
	if s == nil {
		return ""
	}
	for _, f := range s.Findings {
		if strings.Contains(f.Advice, "--luks-key") {
			text += "; " + f.What + ": " + f.Advice
		}
	}
	return text
}

// blockers are the reasons for which a system will not run here.
func blockers(s *droveway.ImageSystem) (all []string) {
	if s == nil {
		return nil
	}
	for _, f := range s.Findings {
		if f.Level == "blocker" {
			all = append(all, strings.TrimSuffix(f.What+": "+f.Why+": "+f.Advice, ": "))
		}
	}
	return all
}

// can reports whether something that was not asked for by name can be done here; if an
// error says that it cannot, a note does so, too.
func (w work) can(r *run, name, what string, err error) bool {
	if err != nil {
		r.State.note(fmt.Sprintf("image %s %s: %v", name, what, err))
	}
	return err == nil
}

// repair repairs the images that need it. After a kill those that are repaired are
// not repaired again; others begin with what had arrived.
func (w work) repair(ctx context.Context, r *run) error {
	for _, name := range r.State.Images {
		f := r.State.Found[name]
		if !f.Repair {
			continue
		}
		if err := w.enter(ctx, r, name, droveway.ImageModifying); err != nil {
			return err
		}
		have, err := w.cfg.Library.Get(name)
		switch {
		case err == nil && have.Job == r.Job && have.Changes != nil:
			f.Changes = have.Changes
			continue
		case droveway.Is(err, droveway.NotFound):
			// A kill between the removal of the unrepaired one and the rest of Replace.
			err = w.convert(ctx, r)
		}
		if err == nil {
			err = w.repairOne(ctx, r, name)
		}
		if asked := w.request(); droveway.Is(err, droveway.Unsupported) && !asked.insists() {
			f.Repair, f.Check = false, w.Check == droveway.CheckBoot
			r.State.note(fmt.Sprintf("it needs a repair, and was imported as it is: %v", err))
			err = nil
		}
		if err != nil {
			return permanent(err)
		}
	}
	return nil
}

// oneGuest waits until no other import has a guest on this server: several would take
// its memory, and each other's time.
func (i *Intake) oneGuest(ctx context.Context) (release func(), err error) {
	select {
	case i.guest <- struct{}{}:
		return func() { <-i.guest }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (w work) repairOne(ctx context.Context, r *run, name string) error {
	release, err := w.oneGuest(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := w.clearWork(name); err != nil {
		return err
	}
	defer func() { _ = w.clearWork(name) }() // if that fails, the undo, the next try or publish does it
	dir := w.cfg.Library.Work(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return droveway.Errorf(droveway.Internal, "make a place for the repair of image %s: %w", name, err)
	}
	image, overlay, flat := w.cfg.Library.Path(name), filepath.Join(dir, "overlay"), filepath.Join(dir, "flat")
	wishes, shut, err := w.prepared(ctx, r)
	if err != nil {
		return err
	}
	defer shut()
	res, err := preflight.File(ctx, image, wishes)
	if err != nil {
		return err
	}
	done, err := w.cfg.Repairer.Repair(ctx, appliance.Request{
		Image: image, Overlay: overlay, Plan: res.Plan, Report: res.Report, MACs: w.MACs, Keys: wishes.Keys, Drivers: wishes.VirtioWin, Full: wishes.Full(),
	})
	if err != nil {
		return hopeless(droveway.Errorf(droveway.KindOf(err), "image %s: %w", name, err))
	}
	r.State.Log = done.Log
	if err := volume.Flatten(ctx, overlay, flat, res.Report.Image.Size); err != nil {
		return err
	}
	if res.Plan.Family == windows {
		if err := took(ctx, flat, wishes); err != nil {
			return hopeless(droveway.Errorf(droveway.KindOf(err), "image %s: %w", name, err))
		}
	}
	f := r.State.Found[name]
	f.Changes = []droveway.Change{}
	for _, c := range done.Changes {
		f.Changes = append(f.Changes, droveway.Change(c))
	}
	return w.replace(ctx, r, name, flat)
}

// hopeless marks the errors of a repair that ran and came to nothing: the same kernel and
// the same files would do it again, and each time may take the whole of its time. What
// kept it from running may be over at the next attempt.
func hopeless(err error) error {
	if droveway.Is(err, droveway.Internal) || errors.Is(err, appliance.ErrTooLong) {
		return job.Permanent(err)
	}
	return err
}

// replace makes the repaired disk the image. The description says that it is.
func (w work) replace(ctx context.Context, r *run, name, flat string) error {
	img, err := w.cfg.Library.Get(name)
	if err != nil {
		return err
	}
	img.Changes = r.State.Found[name].Changes
	_, err = w.cfg.Library.Replace(ctx, img, flat)
	return err
}

func (w work) clearWork(name string) error {
	if err := os.RemoveAll(w.cfg.Library.Work(name)); err != nil {
		return droveway.Errorf(droveway.Internal, "remove what is left of the repair of image %s: %w", name, err)
	}
	return nil
}

func (w work) clearRepair(_ context.Context, r *run) error {
	for _, name := range r.State.Images {
		if err := w.clearWork(name); err != nil {
			return err
		}
	}
	return nil
}

// verify boots the images. One that does not come up is not published; what was seen
// of it is the result of the job.
func (w work) verify(ctx context.Context, r *run) error {
	for _, name := range r.State.Images {
		f := r.State.Found[name]
		if !f.Check {
			continue
		}
		if err := w.enter(ctx, r, name, droveway.ImageVerifying); err != nil {
			return err
		}
		boot, err := w.boot(ctx, name, f)
		if err != nil {
			return permanent(err)
		}
		f.Boot = &boot
		switch boot.Verdict {
		case droveway.BootFailed:
			return w.notUp(r, name, f)
		case droveway.BootUnknown:
			r.State.note(fmt.Sprintf("image %s: whether it boots could not be told: %s", name, boot.Reason))
		case droveway.BootOK:
		}
	}
	return nil
}

func (w work) boot(ctx context.Context, name string, f *found) (droveway.BootCheck, error) {
	release, err := w.oneGuest(ctx)
	if err != nil {
		return droveway.BootCheck{}, err
	}
	defer release()
	img, err := w.cfg.Library.Get(name)
	if err != nil {
		return droveway.BootCheck{}, err
	}
	return w.cfg.Checker.Run(ctx, bootcheck.Request{
		Name: name, Image: w.cfg.Library.Path(name), Format: img.Format, Size: img.Size, Firmware: f.firmware(),
	})
}

// notUp ends the import of an image that does not boot.
func (w work) notUp(r *run, name string, f *found) error {
	res := r.State.result()
	res.Images, res.Log = []string{}, r.State.Log
	if err := r.Result(res); err != nil {
		return err
	}
	do := "import it with --repair force, or as it is with --check none"
	if f.Repair {
		do = "its repair was not enough: the job has the console and what the repair said; --repair none --check none imports it as it is"
	}
	return job.Permanent(droveway.Errorf(droveway.Conflict, "image %s does not boot: %s: %s", name, f.Boot.Reason, strings.TrimPrefix(f.Boot.Advice+"; ", "; ")+do))
}

func (w work) clearVerify(ctx context.Context, r *run) error {
	for _, name := range r.State.Images {
		if f := r.State.Found[name]; f == nil || !f.Check || w.cfg.Checker == nil {
			continue
		}
		if err := w.cfg.Checker.Discard(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
