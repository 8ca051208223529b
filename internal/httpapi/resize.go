package httpapi

import (
	"context"
	"net/http"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/machine"
)

// ResizeMachine is the input of resize-machine and plan-resize.
type ResizeMachine struct {
	OneMachine
	Body client.ResizeRequest
}

func (m *ResizeMachine) request() machine.Resize {
	r := machine.Resize{Machine: m.Name, Size: machine.Size{CPUs: m.Body.CPUs, CPU: m.Body.CPU, MemoryMiB: m.Body.MemoryMiB}}
	for _, d := range m.Body.Disks {
		r.Disks = append(r.Disks, machine.SizedDisk(d))
	}
	return r
}

func (a *API) resizeRoutes() {
	resize := withStatus(op("resize-machine", http.MethodPost, "/v1/machines/{name}/resize", "Make disks of a machine larger, or change CPUs and memory of a stopped one"), http.StatusAccepted)
	route(a, admins, resize, func(ctx context.Context, in *ResizeMachine) (*accepted, error) {
		return accept(a.cfg.Machines.Resize(ctx, in.request(), in.Key))
	})
	route(a, admins, op("plan-resize", http.MethodPost, "/v1/machines/{name}/resize/plan", "Tell what a resize would do"), func(ctx context.Context, in *ResizeMachine) (*reply[machine.ResizePlan], error) {
		return answer(a.cfg.Machines.PlanResize(ctx, in.request()))
	})
}
