package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/droveway/droveway"
)

// Hosts lists the hosts, by name.
func (c *Client) Hosts(ctx context.Context) ([]droveway.Host, error) {
	return list[droveway.Host](ctx, c, "v1", "hosts")
}

// Host gives one host.
func (c *Client) Host(ctx context.Context, name string) (droveway.Host, error) {
	return get[droveway.Host](ctx, c, "v1", "hosts", name)
}

// PatchHost changes what is wanted of a host.
func (c *Client) PatchHost(ctx context.Context, name string, p HostPatch) (droveway.Host, error) {
	var h droveway.Host
	err := c.run(ctx, call{method: http.MethodPatch, path: []string{"v1", "hosts", name}, in: p}, &h)
	return h, err
}

// RemoveHost takes a host without machines out of the fleet. With lost it may
// have some: the caller knows that it is off for good and none of them runs.
func (c *Client) RemoveHost(ctx context.Context, name string, lost bool) error {
	k := call{method: http.MethodDelete, path: []string{"v1", "hosts", name}}
	if lost {
		k.query = url.Values{"lost": {"true"}}
	}
	return c.run(ctx, k, nil)
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, t TokenRequest) (Token, error) {
	var out Token
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "tokens"}, in: t}, &out)
	return out, err
}

// Join makes a host part of the fleet. It needs no token of the API.
func (c *Client) Join(ctx context.Context, j JoinRequest) (Joined, error) {
	var out Joined
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "join"}, in: j}, &out)
	return out, err
}

// RenewCertificate gives the host whose token the client has a certificate for the key
// of a request.
func (c *Client) RenewCertificate(ctx context.Context, r RenewRequest) (Renewed, error) {
	var out Renewed
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "renew"}, in: r}, &out)
	return out, err
}
