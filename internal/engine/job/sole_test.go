package job_test

import (
	"context"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
)

// The whole server is killed in the midst of a job, and comes back. A Sole
// manager does not wait for the lease of the killed one.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bustest.StartIn(t, dir, "127.0.0.1:0")
	o := newOffice(t, b.Conn(t))
	entered := make(chan struct{}, 1)
	m := o.manager(kind("x", doing("wait", func(ctx context.Context, _ *job.Run[none]) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})))
	stop := o.run(m)
	name := submit(t, m, "x", nil)
	await(t, "the step", entered)
	b.Stop() // the lease is not given back
	stop()

	b = bustest.StartIn(t, dir, "127.0.0.1:0")
	o = newOffice(t, b.Conn(t))
	sole := job.NewManager(job.ManagerConfig{
		Jobs: o.stores.Jobs, Leases: lease.New(o.stores.Leases, o.conn.JS), Owner: "test",
		Log: bustest.Log(), LeaseTTL: time.Minute, Sole: true,
	})
	sole.Register(kind("x", doing("wait", nothing)))
	o.run(sole)
	ended(t, sole, name, droveway.JobSucceeded)
}
