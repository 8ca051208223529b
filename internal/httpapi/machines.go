package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/migrate"
)

// NewMachine is the input of create-machine.
type NewMachine struct {
	Keyed
	Body client.MachineRequest
}

// OneMachine is the input of an operation that makes a job for one machine.
type OneMachine struct {
	Named
	Keyed
}

// StopMachine is the input of stop-machine.
type StopMachine struct {
	OneMachine
	Body *client.StopRequest
}

// MoveMachine is the input of move-machine and plan-move.
type MoveMachine struct {
	OneMachine
	Body client.MoveRequest
}

// RateOfMove is the input of set-move-rate.
type RateOfMove struct {
	Named
	Body client.RateRequest
}

// graceDefault is how long a guest has to power down if nobody says.
const graceDefault = 30 * time.Second

func (a *API) machineRoutes() {
	route(a, admins, op("list-machines", http.MethodGet, "/v1/machines", "List the machines"), func(ctx context.Context, _ *Nothing) (*reply[client.List[droveway.Machine]], error) {
		return answerList(a.cfg.Fleet.Machines.List(ctx))
	})
	route(a, admins, op("get-machine", http.MethodGet, "/v1/machines/{name}", "Show a machine"), func(ctx context.Context, in *Named) (*reply[droveway.Machine], error) {
		m, _, err := a.cfg.Fleet.Machines.Get(ctx, in.Name)
		return answer(m, err)
	})
	job := func(id, method, path, summary string) huma.Operation {
		return withStatus(op(id, method, path, summary), http.StatusAccepted)
	}
	route(a, admins, job("create-machine", http.MethodPost, "/v1/machines", "Make a machine"), a.createMachine)
	route(a, admins, job("delete-machine", http.MethodDelete, "/v1/machines/{name}", "Remove a machine and its disks"), func(ctx context.Context, in *OneMachine) (*accepted, error) {
		return accept(a.cfg.Machines.Remove(ctx, in.Name, in.Key))
	})
	route(a, admins, job("start-machine", http.MethodPost, "/v1/machines/{name}/start", "Start a machine"), func(ctx context.Context, in *OneMachine) (*accepted, error) {
		return accept(a.cfg.Machines.Start(ctx, in.Name, in.Key))
	})
	route(a, admins, job("stop-machine", http.MethodPost, "/v1/machines/{name}/stop", "Stop a machine"), a.stopMachine)
	route(a, admins, job("move-machine", http.MethodPost, "/v1/machines/{name}/move", "Move a running machine to another host"), func(ctx context.Context, in *MoveMachine) (*accepted, error) {
		return accept(a.cfg.Moves.Start(ctx, in.request(), in.Key))
	})
	route(a, admins, op("plan-move", http.MethodPost, "/v1/machines/{name}/move/plan", "Tell what a move would do"), func(ctx context.Context, in *MoveMachine) (*reply[migrate.Plan], error) {
		return answer(a.cfg.Moves.Plan(ctx, in.request()))
	})
	route(a, admins, op("set-move-rate", http.MethodPost, "/v1/machines/{name}/rate", "Bound the disk copy of a machine that moves"), func(ctx context.Context, in *RateOfMove) (*reply[droveway.Job], error) {
		return answer(a.cfg.Moves.Rate(ctx, in.Name, in.Body.SyncRate))
	})
	console := op("get-console", http.MethodGet, "/v1/machines/{name}/console", "Read what the guest wrote to its serial console")
	console.Metadata = map[string]any{streams: true}
	console.Responses = map[string]*huma.Response{"200": {Description: "The log", Content: map[string]*huma.MediaType{"text/plain": {}}}}
	route(a, admins, console, a.console)
}

func (a *API) createMachine(ctx context.Context, in *NewMachine) (*accepted, error) {
	m := droveway.Machine{Meta: droveway.Meta{Name: in.Body.Name}, Spec: in.Body.Spec}
	return accept(a.cfg.Machines.Create(ctx, m, in.Key))
}

func (a *API) stopMachine(ctx context.Context, in *StopMachine) (*accepted, error) {
	grace := graceDefault
	if in.Body != nil && in.Body.GraceSeconds > 0 {
		grace = time.Duration(in.Body.GraceSeconds) * time.Second
	}
	return accept(a.cfg.Machines.Stop(ctx, in.Name, grace, in.Key))
}

func (m *MoveMachine) request() migrate.Request {
	return migrate.Request{Machine: m.Name, To: m.Body.To, Rate: m.Body.SyncRate, Instant: m.Body.Instant, Reads: m.Body.Reads, Memory: m.Body.Memory}
}
