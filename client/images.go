package client

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/droveway/droveway"
)

// Images lists the images, by name.
func (c *Client) Images(ctx context.Context) ([]droveway.Image, error) {
	return list[droveway.Image](ctx, c, "v1", "images")
}

// Image gives one image.
func (c *Client) Image(ctx context.Context, name string) (droveway.Image, error) {
	return get[droveway.Image](ctx, c, "v1", "images", name)
}

// PlanImport tells what an import would do.
func (c *Client) PlanImport(ctx context.Context, name string, r ImportRequest) (droveway.ImportPlan, error) {
	var p droveway.ImportPlan
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "images", name, "import", "plan"}, in: r}, &p)
	return p, err
}

// StartImport starts the job that imports an image; its result is a
// droveway.ImportResult.
func (c *Client) StartImport(ctx context.Context, name string, r ImportRequest, request Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "images", name, "import"}, in: r}, request)
}

// OpenImage downloads an image from an offset in bytes on. The caller closes
// it.
func (c *Client) OpenImage(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	k := call{method: http.MethodGet, path: []string{"v1", "images", name, "content"}}
	if offset > 0 {
		k.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", offset)}}
	}
	resp, err := c.send(ctx, k, nil, -1)
	if err != nil {
		return nil, err
	}
	if offset > 0 && resp.StatusCode != http.StatusPartialContent {
		_ = resp.Body.Close()
		return nil, droveway.Errorf(droveway.Unsupported, "image %s: the server does not serve it from byte %d on", name, offset)
	}
	return resp.Body, nil
}

// RemoveImage removes an image that no machine is being made from.
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	return c.run(ctx, call{method: http.MethodDelete, path: []string{"v1", "images", name}}, nil)
}
