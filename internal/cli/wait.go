package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// jobFlags are the flags of a verb that starts a job.
type jobFlags struct {
	wait    bool
	request string
}

func (f *jobFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.wait, "wait", false, "wait until the job has ended, and show how far it is")
	c.Flags().StringVar(&f.request, "request-id", "", "name of this request: repeating it does not do it again")
}

// finish prints the job that was started or, with --wait, follows it to its
// end. done, if not nil, prints what a person wants to know of a success.
func (a *app) finish(ctx context.Context, c *client.Client, j droveway.Job, f *jobFlags, done func(droveway.Job) string) error {
	if !f.wait {
		return printOne(a, j, jobColumns)
	}
	j, err := a.follow(ctx, c, j.Name)
	if err != nil {
		return err
	}
	return a.ended(j, done)
}

func (a *app) ended(j droveway.Job, done func(droveway.Job) string) error {
	if j.State == droveway.JobFailed {
		return &jobFailed{j}
	}
	if done != nil && a.output == "table" {
		return writeLine(a.env.Out, done(j))
	}
	return printOne(a, j, jobColumns)
}

// follow shows a job until it has ended.
func (a *app) follow(ctx context.Context, c *client.Client, name string) (droveway.Job, error) {
	p := &progress{w: a.env.Err, columns: a.env.Columns}
	j, err := c.WatchJob(ctx, name, p.job)
	p.end()
	if ctx.Err() != nil {
		fmt.Fprintf(a.env.Err, "interrupted; the job goes on: droveway job watch %s\n", name)
	}
	return j, err
}
