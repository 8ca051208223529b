package client

import (
	"context"
	"net/http"

	"github.com/droveway/droveway"
)

// Networks lists the networks, by name.
func (c *Client) Networks(ctx context.Context) ([]droveway.Network, error) {
	return list[droveway.Network](ctx, c, "v1", "networks")
}

// CreateNetwork makes a network.
func (c *Client) CreateNetwork(ctx context.Context, n NetworkRequest) (droveway.Network, error) {
	var out droveway.Network
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "networks"}, in: n}, &out)
	return out, err
}

// RemoveNetwork removes a network that no machine uses.
func (c *Client) RemoveNetwork(ctx context.Context, name string) error {
	return c.run(ctx, call{method: http.MethodDelete, path: []string{"v1", "networks", name}}, nil)
}
