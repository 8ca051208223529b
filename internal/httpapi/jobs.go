package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

func (a *API) jobRoutes() {
	route(a, admins, op("list-jobs", http.MethodGet, "/v1/jobs", "List the jobs"), func(ctx context.Context, _ *Nothing) (*reply[client.List[droveway.Job]], error) {
		return answerList(a.cfg.Jobs.List(ctx))
	})
	route(a, admins, op("get-job", http.MethodGet, "/v1/jobs/{name}", "Show a job"), func(ctx context.Context, in *Named) (*reply[droveway.Job], error) {
		return answer(a.cfg.Jobs.Get(ctx, in.Name))
	})
	route(a, admins, op("cancel-job", http.MethodPost, "/v1/jobs/{name}/cancel", "Ask a job to undo what it did and end"), func(ctx context.Context, in *Named) (*reply[droveway.Job], error) {
		if err := a.cfg.Jobs.Cancel(ctx, in.Name); err != nil {
			return nil, err
		}
		return answer(a.cfg.Jobs.Get(ctx, in.Name))
	})
	route(a, admins, streamOp[droveway.Job](a, op("watch-job", http.MethodGet, "/v1/jobs/{name}/events", "Follow a job to its end")), a.watchJob)
}

var errEnded = errors.New("the job has ended")

// watchJob sends the job as it is and after each change; the stream ends when
// the job has.
func (a *API) watchJob(ctx context.Context, in *Named) (*huma.StreamResponse, error) {
	if _, err := a.cfg.Jobs.Get(ctx, in.Name); err != nil {
		return nil, err
	}
	return a.serve(func(ctx context.Context, s *stream) error {
		err := a.cfg.Jobs.Watch(ctx, in.Name, func(j droveway.Job) error {
			if err := s.send("", j); err != nil {
				return err
			}
			if j.State.Ended() {
				return errEnded
			}
			return nil
		})
		if errors.Is(err, errEnded) {
			return nil
		}
		return err
	}), nil
}
