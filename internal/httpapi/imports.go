package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/image/intake"
	"github.com/droveway/droveway/internal/image/luks"
)

// Import is the input of start-import and plan-import.
type Import struct {
	Named
	Keyed
	Body client.ImportRequest
}

func (i *Import) request() (intake.Request, error) {
	b := &i.Body
	var keys []luks.Key
	for _, k := range b.Keys {
		key, err := luks.NewKey(k.Name, k.UUID, k.Key)
		if err != nil {
			return intake.Request{}, err
		}
		keys = append(keys, key)
	}
	return intake.Request{
		Name: i.Name, Link: b.Link, Shown: b.Shown, Upload: b.Upload, Disk: b.Disk, SHA256: b.SHA256,
		Repair: b.Repair, Check: b.Check, Addresses: b.Addresses, Rebuild: b.Rebuild, MACs: b.MACs, VirtioWin: b.VirtioWin, Keys: keys,
	}, nil
}

// OneUpload is the input of operations on an upload.
type OneUpload struct {
	Named
	Upload string `path:"upload" minLength:"1" maxLength:"64" doc:"Name of the upload, which the client chooses"`
}

// Part is the input of send-upload. Its body is not read by the framework, which would
// keep it in memory.
type Part struct {
	OneUpload
	Offset int64 `query:"offset" minimum:"0" doc:"Bytes that have arrived already: where this part begins. 0 begins anew"`
	Size   int64 `query:"size" minimum:"0" doc:"Bytes of the whole file, if they are known"`
	body   io.Reader
}

// Resolve takes the body.
func (p *Part) Resolve(ctx huma.Context) []error {
	p.body = ctx.BodyReader()
	return nil
}

func (a *API) importRoutes() {
	start := withStatus(op("start-import", http.MethodPost, "/v1/images/{name}/import", "Import an image from an address or an upload"), http.StatusAccepted)
	route(a, admins, start, func(ctx context.Context, in *Import) (*accepted, error) {
		r, err := in.request()
		if err != nil {
			return nil, err
		}
		return accept(a.cfg.Intake.Start(ctx, r, in.Key))
	})
	route(a, admins, op("plan-import", http.MethodPost, "/v1/images/{name}/import/plan", "Tell what an import would do"), func(ctx context.Context, in *Import) (*reply[droveway.ImportPlan], error) {
		r, err := in.request()
		if err != nil {
			return nil, err
		}
		return answer(a.cfg.Intake.Plan(ctx, r))
	})
	const upload = "/v1/images/{name}/upload/{upload}"
	route(a, admins, op("get-upload", http.MethodGet, upload, "Tell how far an upload is"), func(_ context.Context, in *OneUpload) (*reply[client.UploadState], error) {
		n, err := a.cfg.Intake.Uploaded(in.Name, in.Upload)
		return answer(client.UploadState{Offset: n}, err)
	})
	send := op("send-upload", http.MethodPut, upload, "Send an image, or the rest of it, for a later import")
	send.RequestBody = &huma.RequestBody{Required: true, Content: binary()}
	send.Metadata = map[string]any{streams: true}
	route(a, admins, send, func(ctx context.Context, in *Part) (*reply[client.UploadState], error) {
		if err := droveway.ValidName("image", in.Name); err != nil {
			return nil, err
		}
		n, err := a.cfg.Intake.Receive(ctx, in.Name, in.Upload, in.Offset, in.Size, in.body)
		return answer(client.UploadState{Offset: n}, err)
	})
	route(a, admins, op("delete-upload", http.MethodDelete, upload, "Forget an upload"), func(_ context.Context, in *OneUpload) (*struct{}, error) {
		return nil, a.cfg.Intake.Abandon(in.Name, in.Upload)
	})
}

// binary describes a body that is a file.
func binary() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}
}
