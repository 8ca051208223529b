package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

var hostColumns = []column[droveway.Host]{
	{title: "name", value: func(h droveway.Host) string { return h.Name }},
	{title: "state", value: hostState},
	{title: "address", value: func(h droveway.Host) string { return h.Status.Address }},
	{title: "cpus", value: func(h droveway.Host) string { return strconv.Itoa(h.Status.CPUs) }},
	{title: "memory", value: func(h droveway.Host) string { return mibText(h.Status.MemoryMiB) }},
	{title: "free disk", value: func(h droveway.Host) string { return mibText(h.Status.DiskFreeMiB) }},
	{title: "version", value: func(h droveway.Host) string { return h.Status.Version }},
	{title: "created", value: func(h droveway.Host) string { return stamp(h.Created) }, wide: true},
	{title: "since", value: func(h droveway.Host) string { return stamp(h.Status.Since) }, wide: true},
	{title: "agent since", value: func(h droveway.Host) string { return stamp(h.Status.Started) }, wide: true},
	{title: "held", value: heldMachines, wide: true},
	{title: "capabilities", value: capabilities, wide: true},
}

func hostState(h droveway.Host) string {
	s := string(h.Status.State)
	if h.Spec.Cordoned {
		s += ", cordoned"
	}
	if n := len(h.Status.Held); n > 0 {
		s += fmt.Sprintf(", %d held", n)
	}
	return s
}

// heldMachines gives one in a line.
func heldMachines(h droveway.Host) string {
	var out []string
	for _, m := range h.Status.Held {
		out = append(out, m.Machine+": "+m.Message)
	}
	return strings.Join(out, "\n\t")
}

// capabilities gives one in a line. Those of a family, as cpu.avx2, are too many
// to read: -o json has them.
func capabilities(h droveway.Host) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(h.Status.Capabilities)) {
		if !strings.Contains(k, ".") {
			out = append(out, k+"="+h.Status.Capabilities[k])
		}
	}
	return strings.Join(out, "\n\t")
}

// hostCommand is droveway host: by itself it runs the role, with a verb it
// speaks of the fleet's hosts.
func hostCommand(a *app, role *cobra.Command) *cobra.Command {
	if role == nil {
		role = group("host", "Hosts of the fleet")
	}
	role.AddCommand(hostList(a), hostShow(a), hostCordon(a, true), hostCordon(a, false), hostRemove(a))
	return role
}

func hostList(a *app) *cobra.Command {
	return a.verb("ls", "List the hosts", nil, func(r run) error {
		hosts, err := r.api.Hosts(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, hosts, hostColumns)
	})
}

func hostShow(a *app) *cobra.Command {
	return a.verb("show HOST", "Show a host", a.hostNames(), func(r run) error {
		h, err := r.api.Host(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		return printOne(a, h, hostColumns)
	})
}

func hostCordon(a *app, cordoned bool) *cobra.Command {
	use, short := "cordon HOST", "Keep new machines away from a host"
	if !cordoned {
		use, short = "uncordon HOST", "Let a host take new machines again"
	}
	return a.verb(use, short, a.hostNames(), func(r run) error {
		h, err := r.api.PatchHost(r.ctx, r.args[0], client.HostPatch{Cordoned: &cordoned})
		if err != nil {
			return err
		}
		return printOne(a, h, hostColumns)
	})
}

func hostRemove(a *app) *cobra.Command {
	var lost bool
	c := a.verb("rm HOST", "Take a host out of the fleet", a.hostNames(), func(r run) error {
		if err := r.api.RemoveHost(r.ctx, r.args[0], lost); err != nil {
			return err
		}
		return a.note("host", r.args[0], "removed")
	})
	c.Flags().BoolVar(&lost, "lost", false, "although it has machines: you know that it is off for good, and none of them runs")
	return c
}

// note says that something is done: for people only, the exit code tells it to
// programs.
func (a *app) note(noun, name, what string) error {
	if a.output != "table" {
		return nil
	}
	return writeLine(a.env.Out, fmt.Sprintf("%s %s %s", noun, name, what))
}
