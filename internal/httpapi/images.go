package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

func (a *API) imageRoutes() {
	route(a, admins, op("list-images", http.MethodGet, "/v1/images", "List the images"), func(ctx context.Context, _ *Nothing) (*reply[client.List[droveway.Image]], error) {
		return answerList(a.cfg.Fleet.Images.List(ctx))
	})
	route(a, admins, op("get-image", http.MethodGet, "/v1/images/{name}", "Show an image"), func(ctx context.Context, in *Named) (*reply[droveway.Image], error) {
		i, _, err := a.cfg.Fleet.Images.Get(ctx, in.Name)
		return answer(i, err)
	})
	down := op("get-image-content", http.MethodGet, "/v1/images/{name}/content", "Download an image, whole or a range of it")
	down.Metadata = map[string]any{streams: true}
	down.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: binary()}, "206": {Description: "A part of it", Content: binary()}}
	route(a, agents, down, a.imageContent)
	route(a, admins, op("delete-image", http.MethodDelete, "/v1/images/{name}", "Remove an image that no machine is being made from"), a.deleteImage)
}

// imageContent serves ranges as of RFC 9110, section 14. The tag is the hash:
// a download that goes on cannot mix two images.
func (a *API) imageContent(_ context.Context, in *Named) (*huma.StreamResponse, error) {
	f, img, err := a.cfg.Images.Open(in.Name)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer f.Close()
		r, w := humago.Unwrap(ctx)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("ETag", `"`+img.SHA256+`"`)
		http.ServeContent(w, r, "", img.Created, f)
	}}, nil
}

func (a *API) deleteImage(ctx context.Context, in *Named) (*struct{}, error) {
	img, _, err := a.cfg.Fleet.Images.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if img.State != droveway.ImageReady {
		return nil, droveway.Errorf(droveway.Conflict, "image %s is being imported: wait for it, or cancel its job %s", in.Name, img.Job)
	}
	machines, err := a.cfg.Fleet.Machines.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range machines {
		if beingMade(&machines[i]) && usesImage(&machines[i], in.Name) {
			return nil, droveway.Errorf(droveway.Conflict, "machine %s is being made from image %s: wait for it, or cancel its job %s", machines[i].Name, in.Name, machines[i].Status.Job)
		}
	}
	// The file first: what is left after a kill is an entry that Recover removes.
	if err := a.cfg.Images.Remove(in.Name); err != nil {
		return nil, err
	}
	if err := a.cfg.Fleet.Images.Delete(ctx, in.Name); err != nil {
		return nil, err
	}
	a.publish(ctx, "image.removed", "image/"+in.Name)
	return nil, nil
}

func beingMade(m *droveway.Machine) bool {
	return slices.Contains([]droveway.MachineState{droveway.MachinePending, droveway.MachinePlaced, droveway.MachineDefining}, m.Status.State)
}

func usesImage(m *droveway.Machine, image string) bool {
	return slices.ContainsFunc(m.Spec.Disks, func(d droveway.Disk) bool { return d.Image == image })
}

// Recover makes the table of images agree with the library, after a server that
// was killed in between: call it before serving.
func (a *API) Recover(ctx context.Context) error {
	kept, err := a.cfg.Images.List()
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, img := range kept {
		have[img.Name] = true
		busy, err := a.underWay(ctx, img)
		if err == nil && !busy {
			err = a.record(ctx, img)
		}
		if err != nil {
			return err
		}
	}
	listed, err := a.cfg.Fleet.Images.List(ctx)
	if err != nil {
		return err
	}
	for _, img := range listed {
		if have[img.Name] {
			continue
		}
		busy, err := a.underWay(ctx, img)
		if err != nil {
			return err
		}
		if busy {
			continue
		}
		a.cfg.Log.Info("an image that is not whole is forgotten", "image", img.Name)
		if err := a.cfg.Fleet.Images.Delete(ctx, img.Name); err != nil {
			return err
		}
	}
	return nil
}

// underWay reports whether a job imports an image, which goes on by itself. That this
// could not be found out is no answer: an image would be shown that is not whole.
func (a *API) underWay(ctx context.Context, img droveway.Image) (bool, error) {
	if img.Job == "" {
		return false, nil
	}
	j, err := a.cfg.Jobs.Get(ctx, img.Job)
	if droveway.Is(err, droveway.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, droveway.Errorf(droveway.KindOf(err), "whether image %s is still being imported: %w", img.Name, err)
	}
	return !j.State.Ended(), nil
}

func (a *API) record(ctx context.Context, img droveway.Image) error {
	img.Job = "" // it has ended
	err := a.cfg.Fleet.Images.Create(ctx, img.Name, img)
	if !droveway.Is(err, droveway.Exists) {
		return err
	}
	_, err = a.cfg.Fleet.Images.Update(ctx, img.Name, func(i *droveway.Image) error { *i = img; return nil })
	return err
}
