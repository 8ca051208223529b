package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/migrate"
)

// RestartMachine is the input of restart-machine and plan-restart.
type RestartMachine struct {
	OneMachine
	Body client.RestartRequest
}

func (m *RestartMachine) request() migrate.RestartRequest {
	return migrate.RestartRequest{
		Machine: m.Name, To: m.Body.To, Mode: migrate.Mode(m.Body.Mode),
		Rate:  m.Body.SyncRate,
		Grace: time.Duration(m.Body.GraceSeconds) * time.Second, Within: time.Duration(m.Body.WithinSeconds) * time.Second,
	}
}

func (a *API) restartRoutes() {
	restart := withStatus(op("restart-machine", http.MethodPost, "/v1/machines/{name}/restart", "Restart a machine, on another host where there is room"), http.StatusAccepted)
	route(a, admins, restart, func(ctx context.Context, in *RestartMachine) (*accepted, error) {
		return accept(a.cfg.Moves.Restart(ctx, in.request(), in.Key))
	})
	route(a, admins, op("plan-restart", http.MethodPost, "/v1/machines/{name}/restart/plan", "Tell what a restart would do"), func(ctx context.Context, in *RestartMachine) (*reply[migrate.RestartPlan], error) {
		return answer(a.cfg.Moves.PlanRestart(ctx, in.request()))
	})
}
