package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

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

// ImportImage uploads an image. Give its size in bytes, or -1 if it is not
// known: with it an upload that was cut short is noticed.
func (c *Client) ImportImage(ctx context.Context, name string, from io.Reader, size int64) (droveway.Image, error) {
	var out droveway.Image
	k := call{method: http.MethodPut, path: []string{"v1", "images", name}, header: http.Header{
		"Content-Type": {"application/octet-stream"},
		// The server refuses a name that is taken before the bytes travel.
		"Expect": {"100-continue"},
	}}
	if size >= 0 {
		k.query = url.Values{"size": {strconv.FormatInt(size, 10)}}
	}
	resp, err := c.send(ctx, k, from, size)
	if err != nil {
		return out, err
	}
	defer drain(resp.Body)
	if err := json.NewDecoder(io.LimitReader(resp.Body, replyMax)).Decode(&out); err != nil {
		return out, droveway.Errorf(droveway.Unavailable, "read the server's answer to the upload of %s: %w", name, err)
	}
	return out, nil
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
