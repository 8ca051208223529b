package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway/client"
)

var probeColumns = []column[client.Probe]{
	{title: "name", value: func(p client.Probe) string { return p.Name }},
	{title: "site", value: func(p client.Probe) string { return p.Site }},
	{title: "source", value: func(p client.Probe) string { return p.Source }},
	{title: "last report", value: func(p client.Probe) string { return stamp(p.Last) }},
	{title: "on disks", value: func(p client.Probe) string { return dash(knownBytes(p.Disk)) }},
	{title: "missing reports", value: func(p client.Probe) string { return strconv.FormatUint(p.Missing, 10) }},
	{title: "lost events", value: func(p client.Probe) string { return strconv.FormatUint(p.Lost, 10) }},
}

// probeCommand is droveway probe: by itself it runs the role, with a verb it
// speaks of the fleet's probes.
func probeCommand(a *app, role *cobra.Command) *cobra.Command {
	if role == nil {
		role = group("probe", "Probes of the fleet")
	}
	role.AddCommand(probeList(a), probeRemove(a))
	return role
}

func probeList(a *app) *cobra.Command {
	return a.verb("ls", "List the probes and how well they watch", nil, func(r run) error {
		all, err := r.api.Probes(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, all, probeColumns)
	})
}

func probeRemove(a *app) *cobra.Command {
	return a.verb("rm PROBE", "Take a probe out of the fleet", a.probeNames(), func(r run) error {
		if err := r.api.RemoveProbe(r.ctx, r.args[0]); err != nil {
			return err
		}
		return a.note("probe", r.args[0], "removed")
	})
}

func (a *app) probeNames() completer {
	return namesOf(a, (*client.Client).Probes, func(p client.Probe) string { return p.Name })
}
