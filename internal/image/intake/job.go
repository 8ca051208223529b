package intake

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/image/preflight"
)

// args are the arguments of the job. There are no secrets among them.
type args struct {
	Name     string `json:"name"`
	Stage    string `json:"stage"`
	Location string `json:"location,omitempty"`
	Disk     string `json:"disk,omitempty"`
	SHA256   string `json:"sha256,omitempty"`

	Repair    droveway.Repair    `json:"repair,omitempty"`
	Check     droveway.Check     `json:"check,omitempty"`
	Addresses droveway.Addresses `json:"addresses,omitempty"`
	Rebuild   droveway.Rebuild   `json:"rebuild,omitempty"`
	MACs      []string           `json:"macs,omitempty"`
	Locked    bool               `json:"locked,omitempty"` // keys were given, which are in memory alone
	VirtioWin string             `json:"virtio_win,omitempty"`
}

// request is what the arguments ask for.
func (a *args) request() Request {
	return Request{Name: a.Name, Repair: a.Repair, Check: a.Check, Addresses: a.Addresses, Rebuild: a.Rebuild, MACs: a.MACs, VirtioWin: a.VirtioWin}
}

func (a *args) wishes() preflight.Wishes {
	r := a.request()
	return r.wishes()
}

// fetches reports whether the source is a link. Then the transfer is the job's own.
func (a *args) fetches() bool { return a.Location != "" }

// state is what the steps hand on.
type state struct {
	Restarts int      `json:"restarts,omitempty"` // how often the transfer began anew
	SHA256   string   `json:"sha256,omitempty"`   // of the source
	Images   []string `json:"images,omitempty"`   // that are made
	Notes    []string `json:"notes,omitempty"`

	Found map[string]*found `json:"found,omitempty"` // by image: what its disk holds, and what is done with it
	Log   string            `json:"log,omitempty"`   // of the last repair
}

func (s *state) note(text string) {
	if !slices.Contains(s.Notes, text) {
		s.Notes = append(s.Notes, text)
	}
}

type run = job.Run[state]

// work is one import.
type work struct {
	*Intake
	args
}

// Kinds gives the kinds of job, to be registered.
func (i *Intake) Kinds() []job.Kind {
	return []job.Kind{job.Define(Kind, func(raw json.RawMessage) ([]job.Step[state], error) {
		w := work{Intake: i}
		if err := json.Unmarshal(raw, &w.args); err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "arguments of an import: %w", err)
		}
		return w.steps(), nil
	})}
}

func (w work) steps() []job.Step[state] {
	return []job.Step[state]{
		{Name: "claim", Do: w.claim, Undo: w.unclaim},
		{Name: "fetch", Do: w.fetch, Undo: w.discard},
		{Name: "examine", Do: w.examine, Undo: w.unclaimDisks},
		{Name: "convert", Do: w.convert, Undo: w.removeMade},
		{Name: "inspect", Do: w.inspect},
		{Name: "plan", Do: w.plan},
		{Name: "repair", Do: w.repair, Undo: w.clearRepair},
		{Name: "verify", Do: w.verify, Undo: w.clearVerify},
		{Name: "publish", Do: w.publish, Point: true},
	}
}

// claim takes the name.
func (w work) claim(ctx context.Context, r *run) error { return w.claimName(ctx, w.Name, r.Job) }

// unclaim also removes a transfer that never began. That of a link is the job's own;
// an upload belongs to the job that has the name.
func (w work) unclaim(ctx context.Context, r *run) error {
	w.keys.forget(w.Stage)
	img, _, err := w.cfg.Fleet.Images.Get(ctx, w.Name)
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return err
	}
	if others := err == nil && img.Job != r.Job; !others || w.fetches() {
		if err := w.stage.Remove(w.Stage); err != nil {
			return err
		}
	}
	return w.unclaimName(ctx, w.Name, r.Job)
}

func (w work) claimName(ctx context.Context, name, jobName string) error {
	img := droveway.Image{Meta: droveway.Meta{Name: name, Created: time.Now().UTC()}, State: droveway.ImageFetching, Job: jobName}
	err := w.cfg.Fleet.Images.Create(ctx, name, img)
	if !droveway.Is(err, droveway.Exists) {
		return err
	}
	have, _, err := w.cfg.Fleet.Images.Get(ctx, name)
	if err == nil && have.Job == jobName {
		return nil
	}
	if err := w.free(ctx, name); err != nil {
		return err
	}
	return droveway.Errorf(droveway.Unavailable, "image %s was removed just now", name) // the next attempt has it
}

// unclaimName gives a name back, if the job has it.
func (w work) unclaimName(ctx context.Context, name, jobName string) error {
	img, _, err := w.cfg.Fleet.Images.Get(ctx, name)
	if droveway.Is(err, droveway.NotFound) || err == nil && img.Job != jobName {
		return nil
	}
	if err != nil {
		return err
	}
	return w.cfg.Fleet.Images.Delete(ctx, name)
}

// discard removes what has arrived.
func (w work) discard(context.Context, *run) error { return w.stage.Remove(w.Stage) }

func (w work) unclaimDisks(ctx context.Context, r *run) error {
	for _, name := range r.State.Images {
		if name == w.Name {
			continue
		}
		if err := w.unclaimName(ctx, name, r.Job); err != nil {
			return err
		}
	}
	return nil
}

// publish shows the images. It only goes forward: what is shown may be in use.
func (w work) publish(ctx context.Context, r *run) error {
	w.keys.forget(w.Stage)
	for _, name := range r.State.Images {
		err := w.show(ctx, name, r)
		if err != nil && !droveway.Is(err, droveway.NotFound) { // somebody may have removed it already
			return err
		}
	}
	if !slices.Contains(r.State.Images, w.Name) {
		if err := w.unclaimName(ctx, w.Name, r.Job); err != nil {
			return err
		}
	}
	if err := w.stage.Remove(w.Stage); err != nil {
		return err
	}
	if err := w.clearRepair(ctx, r); err != nil { // of a server that was killed right after it
		return err
	}
	return r.Result(r.State.result())
}

// result is what the job tells when it has ended.
func (s *state) result() droveway.ImportResult {
	res := droveway.ImportResult{Images: s.Images, SHA256: s.SHA256, Notes: s.Notes}
	for _, name := range s.Images {
		if f := s.Found[name]; f != nil {
			res.Changes = append(res.Changes, f.Changes...)
			if f.Boot != nil && (res.Boot == nil || f.Boot.Verdict != droveway.BootOK) {
				res.Boot = f.Boot
			}
		}
	}
	return res
}

func (w work) show(ctx context.Context, name string, r *run) error {
	jobName := r.Job
	made, err := w.cfg.Library.Describe(name, func(i *droveway.Image) { r.State.Found[name].describe(i) })
	if err != nil {
		return err
	}
	made.Job = ""
	if _, err := w.cfg.Fleet.Images.Update(ctx, name, func(i *droveway.Image) error { *i = made; return nil }); err != nil {
		return err
	}
	e := droveway.Event{ID: jobName + "-" + name, Type: "image.ready", Subject: "image/" + name, Source: "server"}
	return w.cfg.Events.Publish(ctx, e)
}
