package cli

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

var jobColumns = []column[droveway.Job]{
	{title: "name", value: func(j droveway.Job) string { return j.Name }},
	{title: "kind", value: func(j droveway.Job) string { return j.Kind }},
	{title: "subject", value: func(j droveway.Job) string { return j.Subject }},
	{title: "state", value: func(j droveway.Job) string { return jobState(j) }},
	{title: "step", value: func(j droveway.Job) string { return j.Step }},
	{title: "updated", value: func(j droveway.Job) string { return stamp(j.Updated) }},
	{title: "progress", value: jobProgress, wide: true},
	{title: "steps done", value: jobSteps, wide: true},
	{title: "retry", value: func(j droveway.Job) string { return j.Retry }, wide: true},
	{title: "waits", value: func(j droveway.Job) string { return j.Waits }, wide: true},
	{title: "error", value: func(j droveway.Job) string { return j.Error }, wide: true},
	{title: "memory", value: jobMemory, wide: true},
	{title: "result", value: jobResult, wide: true},
	{title: "created", value: func(j droveway.Job) string { return stamp(j.Created) }, wide: true},
	{title: "ended", value: func(j droveway.Job) string { return stamp(j.Ended) }, wide: true},
}

// jobState is where a job is, and whether it waits there for somebody.
func jobState(j droveway.Job) string {
	if !j.Stuck.IsZero() {
		return string(j.State) + ", stuck"
	}
	return string(j.State)
}

func jobProgress(j droveway.Job) string {
	if j.Progress == nil {
		return ""
	}
	return progressText(*j.Progress)
}

// jobMemory is how the memory of a machine went over, of jobs that send any.
func jobMemory(j droveway.Job) string {
	var res client.MoveResult
	if client.Decode(j.Result, &res) != nil || res.Memory == nil {
		return ""
	}
	return memoryText(*res.Memory)
}

// jobResult is what a job has found out, a member in a line.
func jobResult(j droveway.Job) string {
	if len(j.Result) == 0 {
		return ""
	}
	lines, err := yaml.JSONToYAML(j.Result)
	if err != nil {
		return string(j.Result)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(lines)), "\n", "\n\t")
}

func jobSteps(j droveway.Job) string {
	return fmt.Sprintf("%d of %d (%s)", len(j.Done), len(j.Steps), strings.Join(j.Steps, " "))
}

func jobCommand(a *app) *cobra.Command {
	return group("job", "Long operations", jobList(a), jobShow(a), jobWatch(a), jobCancel(a))
}

func jobList(a *app) *cobra.Command {
	return a.verb("ls", "List the jobs", nil, func(r run) error {
		jobs, err := r.api.Jobs(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, jobs, jobColumns)
	})
}

func jobShow(a *app) *cobra.Command {
	return a.verb("show JOB", "Show a job", a.jobNames(), func(r run) error {
		j, err := r.api.Job(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		return printOne(a, j, jobColumns)
	})
}

func jobWatch(a *app) *cobra.Command {
	return a.verb("watch JOB", "Follow a job to its end", a.jobNames(), func(r run) error {
		j, err := a.follow(r.ctx, r.api, r.args[0])
		if err != nil {
			return err
		}
		return a.ended(j, nil)
	})
}

func jobCancel(a *app) *cobra.Command {
	var wait bool
	c := a.verb("cancel JOB", "Ask a job to undo what it did and end", a.jobNames(), func(r run) error {
		return a.cancel(r, r.args[0], wait)
	})
	c.Flags().BoolVar(&wait, "wait", false, "wait until the job has ended, and show how far it is")
	return c
}

// cancel ends a job. That it failed because of that is the success that was
// asked for.
func (a *app) cancel(r run, name string, wait bool) error {
	j, err := r.api.CancelJob(r.ctx, name)
	if err != nil {
		return err
	}
	if wait {
		if j, err = a.follow(r.ctx, r.api, name); err != nil {
			return err
		}
		if j.State == droveway.JobSucceeded {
			return droveway.Errorf(droveway.Conflict, "job %s had succeeded before it could be cancelled", name)
		}
	}
	return printOne(a, j, jobColumns)
}
