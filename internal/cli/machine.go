package cli

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

var machineColumns = []column[droveway.Machine]{
	{title: "name", value: func(m droveway.Machine) string { return m.Name }},
	{title: "state", value: func(m droveway.Machine) string { return string(m.Status.State) }},
	{title: "host", value: func(m droveway.Machine) string { return m.Status.Host }},
	{title: "cpus", value: func(m droveway.Machine) string { return strconv.Itoa(m.Spec.CPUs) }},
	{title: "cpu", value: func(m droveway.Machine) string { return string(m.Spec.CPU) }, wide: true},
	{title: "firmware", value: func(m droveway.Machine) string { return string(m.Spec.Firmware) }, wide: true},
	{title: "memory", value: func(m droveway.Machine) string { return mibText(m.Spec.MemoryMiB) }},
	{title: "address", value: addresses},
	{title: "job", value: func(m droveway.Machine) string { return m.Status.Job }},
	{title: "filling", value: fillingText, wide: true},
	{title: "message", value: func(m droveway.Machine) string { return m.Status.Message }, wide: true},
	{title: "wanted", value: wanted, wide: true},
	{title: "only on", value: func(m droveway.Machine) string { return m.Spec.Host }, wide: true},
	{title: "requires", value: func(m droveway.Machine) string { return strings.Join(m.Spec.Requires, " ") }, wide: true},
	{title: "disks", value: disks, wide: true},
	{title: "since", value: func(m droveway.Machine) string { return stamp(m.Status.Since) }, wide: true},
	{title: "created", value: func(m droveway.Machine) string { return stamp(m.Created) }, wide: true},
}

func addresses(m droveway.Machine) string {
	var out []string
	for _, n := range m.Spec.NICs {
		if n.Address.IsValid() {
			out = append(out, n.Address.String())
		}
	}
	return strings.Join(out, " ")
}

func wanted(m droveway.Machine) string {
	if m.Spec.Running {
		return "running"
	}
	return "stopped"
}

func disks(m droveway.Machine) string {
	var out []string
	for _, d := range m.Spec.Disks {
		text := fmt.Sprintf("%s (%s, %s", d.Name, d.Format, dash(mibText(d.SizeMiB)))
		if from := cmp.Or(d.Image, d.From); from != "" {
			text += ", from " + from
		}
		out = append(out, text+")")
	}
	return strings.Join(out, " ")
}

func machineCommand(a *app) *cobra.Command {
	return group("machine", "Virtual machines",
		machineCreate(a), machineList(a), machineShow(a), machineStart(a), machineStop(a),
		machineMove(a), machineRate(a), machineRestart(a), machineResize(a), machineConsole(a), machineRemove(a))
}

func machineList(a *app) *cobra.Command {
	return a.verb("ls", "List the machines", nil, func(r run) error {
		machines, err := r.api.Machines(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, machines, machineColumns)
	})
}

func machineShow(a *app) *cobra.Command {
	return a.verb("show MACHINE", "Show a machine", a.machineNames(), func(r run) error {
		m, err := r.api.Machine(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		return printOne(a, m, machineColumns)
	})
}

func machineStart(a *app) *cobra.Command {
	var f jobFlags
	c := a.verb("start MACHINE", "Start a machine", a.machineNames(), func(r run) error {
		j, err := r.api.StartMachine(r.ctx, r.args[0], client.Request(f.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f, nil)
	})
	f.add(c)
	return c
}

func machineStop(a *app) *cobra.Command {
	var f jobFlags
	var s client.StopRequest
	c := a.verb("stop MACHINE", "Stop a machine", a.machineNames(), func(r run) error {
		j, err := r.api.StopMachine(r.ctx, r.args[0], s, client.Request(f.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f, nil)
	})
	f.add(c)
	c.Example = "  droveway machine stop web-1 --grace 2m --wait"
	c.Flags().Var(secondsValue{&s.GraceSeconds}, "grace", "time that the guest has to power down before it is killed (default: the server's)")
	return c
}

func machineRemove(a *app) *cobra.Command {
	var f jobFlags
	c := a.verb("rm MACHINE", "Remove a machine and its disks", a.machineNames(), func(r run) error {
		j, err := r.api.RemoveMachine(r.ctx, r.args[0], client.Request(f.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f, nil)
	})
	f.add(c)
	return c
}

func machineConsole(a *app) *cobra.Command {
	var follow bool
	c := a.verb("console MACHINE", "Print what the guest wrote to its serial console", a.machineNames(), func(r run) error {
		log, err := r.api.Console(r.ctx, r.args[0], follow)
		if err != nil {
			return err
		}
		defer log.Close()
		if _, err := io.Copy(a.env.Out, log); err != nil {
			return droveway.Errorf(droveway.Unavailable, "read the console of %s: %w", r.args[0], err)
		}
		return nil
	})
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as it grows, wherever the machine moves")
	return c
}
