package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// moveKind is the kind of a job that moves a machine.
const moveKind = "machine-move"

const moveLong = `Move a running machine to another host.

The machine runs at its new place as soon as its memory is there. Its disks
follow in the background, while the old copy is kept current until the new one
is whole and proved equal. Until then --abort takes a move back; after the switch
the guest returns with its memory, and is not restarted.`

func machineMove(a *app) *cobra.Command {
	var f jobFlags
	m := client.MoveRequest{Memory: "auto"}
	var dry, abort bool
	c := a.verb("move MACHINE", "Move a machine to another host without stopping it", a.machineNames(), func(r run) error {
		switch {
		case abort && dry:
			return droveway.Errorf(droveway.Invalid, "--abort and --dry-run together make no sense: give one of them")
		case abort:
			return a.abort(r, f.wait)
		case dry:
			return a.plan(r, m)
		}
		if err := a.warn(r, m); err != nil {
			return err
		}
		j, err := r.api.MoveMachine(r.ctx, r.args[0], m, client.Request(f.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f, moved)
	})
	c.Long = moveLong
	c.Example = `  droveway machine move web-1 --to host-b --dry-run
  droveway machine move web-1 --to host-b --wait
  droveway machine move web-1 --sync-rate 50M
  droveway machine move web-1 --abort --wait`
	f.add(c)
	c.Flags().StringVar(&m.To, "to", "", "`host` to move to (default: the server chooses)")
	c.Flags().Var(rateValue{&m.SyncRate}, "sync-rate", "bound of the disk copy a second, as 50M (default: none)")
	c.Flags().BoolVar(&m.Instant, "instant", false, "switch over before the memory has been sent: it follows, and if a host or the link fails meanwhile the machine boots from its current disks")
	AddChoice(c, &m.Reads, "reads", "`where` the guest reads from while its disks follow: source, or local, which needs no link for what is there (default: source)", "source", "local")
	AddChoice(c, &m.Memory, "memory", "over how many connections memory goes: single, parallel, compressed (parallel, for slow links), or auto, which is several for much memory of a quiet guest", "auto", "single", "parallel", "compressed")
	c.Flags().BoolVar(&dry, "dry-run", false, "tell what would happen, and change nothing")
	c.Flags().BoolVar(&abort, "abort", false, "cancel the machine's running move")
	_ = c.RegisterFlagCompletionFunc("to", a.hostNames())
	return c
}

func (a *app) plan(r run, m client.MoveRequest) error {
	p, err := r.api.PlanMove(r.ctx, r.args[0], m)
	if err != nil {
		return err
	}
	return printOne(a, p, planColumns)
}

// warn says before what a move puts at stake, beyond what any move does.
func (a *app) warn(r run, m client.MoveRequest) error {
	if !m.Instant {
		return nil
	}
	p, err := r.api.PlanMove(r.ctx, r.args[0], m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.env.Err, "at risk:", p.Risk)
	return err
}

var planColumns = []column[client.MovePlan]{
	{title: "machine", value: func(p client.MovePlan) string { return p.Machine }},
	{title: "from", value: func(p client.MovePlan) string { return p.From }},
	{title: "to", value: func(p client.MovePlan) string { return p.To }},
	{title: "memory, before the switch", value: func(p client.MovePlan) string { return mibText(p.MemoryMiB) }},
	{title: "disks, after it", value: func(p client.MovePlan) string { return mibText(p.DiskMiB) }},
	{title: "at risk", value: func(p client.MovePlan) string { return p.Risk }, wide: true},
	{title: "steps", value: func(p client.MovePlan) string { return strings.Join(p.Steps, " ") }},
	{title: "other hosts", value: whyNot, wide: true},
}

func whyNot(p client.MovePlan) string { return reasons(p.WhyNot) }

// abort cancels the move that holds the machine.
func (a *app) abort(r run, wait bool) error {
	m, err := r.api.Machine(r.ctx, r.args[0])
	if err != nil {
		return err
	}
	if m.Status.Job == "" {
		return droveway.Errorf(droveway.Conflict, "machine %s does not move", m.Name)
	}
	j, err := r.api.Job(r.ctx, m.Status.Job)
	if err != nil {
		return err
	}
	if j.Kind != moveKind {
		return droveway.Errorf(droveway.Conflict, "machine %s does not move: its job %s is a %s", m.Name, j.Name, j.Kind)
	}
	return a.cancel(r, j.Name, wait)
}

// moved says how a move went.
func moved(j droveway.Job) string {
	var res client.MoveResult
	if client.Decode(j.Result, &res) != nil {
		return fmt.Sprintf("%s moved", j.Subject)
	}
	name := strings.TrimPrefix(j.Subject, "machine/")
	text := fmt.Sprintf("machine %s runs on %s: %s from request to running, %s of it standing still; %s synced in %s",
		name, res.To, millis(res.RequestToRunning), millis(res.Downtime), bytesText(res.SyncBytes), millis(res.Sync))
	if res.Equal {
		text += ", both copies proved equal"
	}
	if res.Memory != nil {
		text += "; memory: " + memoryText(*res.Memory)
	}
	return text
}

// memoryText says how memory went over.
func memoryText(m client.Memory) string {
	text := fmt.Sprintf("%s, %s sent at %s/s in %d passes, %s/s changed, set up in %s",
		m.Way, bytesText(m.Bytes), bytesText(m.LinkRate), m.Passes, bytesText(m.DirtyRate), millis(m.Setup))
	if m.Switch > 0 {
		text += fmt.Sprintf(", running %s after it was to follow", millis(m.Switch))
	}
	if m.Why != "" {
		text += " (" + m.Why + ")"
	}
	return text
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
