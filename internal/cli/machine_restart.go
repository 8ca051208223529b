package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

const restartLong = `Restart a machine on another host that is made ready before its guest stops, so
that it is away for little longer than its boot takes, whatever the size of its
disks. If no other host has room it restarts in place, and the result says so.
The restart is confirmed when the guest has given a sign of life; if it gives
none, it boots on the first host again.`

func machineRestart(a *app) *cobra.Command {
	var f jobFlags
	var m client.RestartRequest
	var dry bool
	c := a.verb("restart MACHINE", "Restart a machine, on another host where there is room", a.machineNames(), func(r run) error {
		if dry {
			return a.planRestart(r, m)
		}
		j, err := r.api.RestartMachine(r.ctx, r.args[0], m, client.Request(f.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f, restarted)
	})
	c.Long = restartLong
	c.Example = `  droveway machine restart web-1 --wait
  droveway machine restart web-1 --to host-b --mode refresh --wait
  droveway machine restart web-1 --grace 2m --within 5m`
	f.add(c)
	c.Flags().StringVar(&m.To, "to", "", "`host` to restart on (default: the server chooses)")
	c.Flags().Var(rateValue{&m.SyncRate}, "sync-rate", "bound of the disk copy a second, as 50M (default: none)")
	AddChoice(c, &m.Mode, "mode", "reboot (default), or refresh: go on with its memory in a new instance", "reboot", "refresh")
	c.Flags().Var(secondsValue{&m.GraceSeconds}, "grace", "time that the guest has to power down (default: 30s)")
	c.Flags().Var(secondsValue{&m.WithinSeconds}, "within", "time that the guest has for a sign of life (default: 3m)")
	c.Flags().BoolVar(&dry, "dry-run", false, "tell what would happen, and change nothing")
	_ = c.RegisterFlagCompletionFunc("to", a.hostNames())
	return c
}

func (a *app) planRestart(r run, m client.RestartRequest) error {
	p, err := r.api.PlanRestart(r.ctx, r.args[0], m)
	if err != nil {
		return err
	}
	return printOne(a, p, restartColumns)
}

var restartColumns = []column[client.RestartPlan]{
	{title: "machine", value: func(p client.RestartPlan) string { return p.Machine }},
	{title: "mode", value: func(p client.RestartPlan) string { return p.Mode }},
	{title: "from", value: func(p client.RestartPlan) string { return p.From }},
	{title: "to", value: func(p client.RestartPlan) string { return p.To }},
	{title: "steps", value: func(p client.RestartPlan) string { return strings.Join(p.Steps, " ") }},
	{title: "other hosts", value: func(p client.RestartPlan) string { return reasons(p.WhyNot) }, wide: true},
}

// restarted says how a restart went.
func restarted(j droveway.Job) string {
	var res client.RestartResult
	if client.Decode(j.Result, &res) != nil {
		return fmt.Sprintf("%s restarted", j.Subject)
	}
	return fmt.Sprintf("machine %s restarted (%s) from host %s on host %s: away for %s",
		strings.TrimPrefix(j.Subject, "machine/"), res.Mode, res.From, res.To, millis(res.Away))
}

// reasons gives, in one line, why hosts were not chosen.
func reasons(why map[string]string) string {
	var out []string
	for _, h := range slices.Sorted(maps.Keys(why)) {
		out = append(out, h+": "+why[h])
	}
	return strings.Join(out, "; ")
}
