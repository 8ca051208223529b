package client

import (
	"context"
	"net/http"

	"github.com/droveway/droveway"
)

// OfferOrigin has the server look at the source of an image. The disk of a machine
// may be filled from the origin it gives, under its name; one that no machine uses is
// forgotten after an hour.
func (c *Client) OfferOrigin(ctx context.Context, r OriginRequest) (droveway.Origin, error) {
	var o droveway.Origin
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "origins"}, in: r}, &o)
	return o, err
}

// Origin tells how an origin is.
func (c *Client) Origin(ctx context.Context, name string) (droveway.Origin, error) {
	return get[droveway.Origin](ctx, c, "v1", "origins", name)
}

// RemoveOrigin forgets an origin that no machine is filled from.
func (c *Client) RemoveOrigin(ctx context.Context, name string) error {
	return c.run(ctx, call{method: http.MethodDelete, path: []string{"v1", "origins", name}}, nil)
}
