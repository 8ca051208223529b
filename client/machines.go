package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/droveway/droveway"
)

// Machines lists the machines, by name.
func (c *Client) Machines(ctx context.Context) ([]droveway.Machine, error) {
	return list[droveway.Machine](ctx, c, "v1", "machines")
}

// Machine gives one machine.
func (c *Client) Machine(ctx context.Context, name string) (droveway.Machine, error) {
	return get[droveway.Machine](ctx, c, "v1", "machines", name)
}

// CreateMachine starts the job that makes a machine.
func (c *Client) CreateMachine(ctx context.Context, m MachineRequest, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "machines"}, in: m}, r)
}

// RemoveMachine starts the job that removes a machine and its disks.
func (c *Client) RemoveMachine(ctx context.Context, name string, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodDelete, path: []string{"v1", "machines", name}}, r)
}

// StartMachine starts the job that starts a machine.
func (c *Client) StartMachine(ctx context.Context, name string, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "start"}}, r)
}

// StopMachine starts the job that stops a machine.
func (c *Client) StopMachine(ctx context.Context, name string, s StopRequest, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "stop"}, in: s}, r)
}

// ResizeMachine starts the job that changes the size of a machine; its result is a
// Size.
func (c *Client) ResizeMachine(ctx context.Context, name string, m ResizeRequest, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "resize"}, in: m}, r)
}

// PlanResize tells what a resize would do, and changes nothing.
func (c *Client) PlanResize(ctx context.Context, name string, m ResizeRequest) (ResizePlan, error) {
	var out ResizePlan
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "resize", "plan"}, in: m}, &out)
	return out, err
}

// MoveMachine starts the job that moves a machine; its result is a MoveResult.
func (c *Client) MoveMachine(ctx context.Context, name string, m MoveRequest, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "move"}, in: m}, r)
}

// SetMoveRate bounds, from now on, the disk copy of a machine that moves or
// restarts, and gives its job.
func (c *Client) SetMoveRate(ctx context.Context, name string, m RateRequest) (droveway.Job, error) {
	var j droveway.Job
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "rate"}, in: m}, &j)
	return j, err
}

// RestartMachine starts the job that restarts a machine; its result is a
// RestartResult.
func (c *Client) RestartMachine(ctx context.Context, name string, m RestartRequest, r Request) (droveway.Job, error) {
	return c.start(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "restart"}, in: m}, r)
}

// PlanRestart tells what a restart would do, and changes nothing.
func (c *Client) PlanRestart(ctx context.Context, name string, m RestartRequest) (RestartPlan, error) {
	var out RestartPlan
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "restart", "plan"}, in: m}, &out)
	return out, err
}

// PlanMove tells what a move would do, and changes nothing.
func (c *Client) PlanMove(ctx context.Context, name string, m MoveRequest) (MovePlan, error) {
	var out MovePlan
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "machines", name, "move", "plan"}, in: m}, &out)
	return out, err
}

// Console gives what the guest wrote to its serial console; with follow it goes
// on, wherever the machine moves, until ctx ends. The caller closes it.
func (c *Client) Console(ctx context.Context, name string, follow bool) (io.ReadCloser, error) {
	k := call{method: http.MethodGet, path: []string{"v1", "machines", name, "console"}}
	if follow {
		k.query = url.Values{"follow": {"true"}}
	}
	resp, err := c.send(ctx, k, nil, -1)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
