package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

const resizeLong = `Make the disks of a machine larger, whether it runs or not. A guest that runs sees
the new size at once; its partitions and file systems it has to grow itself. A disk
cannot be made smaller.

CPUs, what they can do (--cpu), and memory change while the machine is stopped, in
either direction.`

func machineResize(a *app) *cobra.Command {
	var f jobFlags
	var z client.ResizeRequest
	var dry bool
	c := a.verb("resize MACHINE", "Make disks of a machine larger, or change its CPUs and memory", a.machineNames(), func(r run) error {
		if dry {
			return a.planResize(r, z)
		}
		j, err := r.api.ResizeMachine(r.ctx, r.args[0], z, client.Request(f.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f, resized)
	})
	c.Long = resizeLong
	c.Example = `  droveway machine resize web-1 --disk root=20G --wait
  droveway machine resize web-1 --cpus 4 --memory 8G --dry-run`
	f.add(c)
	c.Flags().Var(diskSizes{&z.Disks}, "disk", "a `disk` and its new size, as root=20G; repeat it for more")
	c.Flags().Var(countValue{&z.CPUs}, "cpus", "`number` of CPUs (default: as it is)")
	c.Flags().StringVar((*string)(&z.CPU), "cpu", "", "`CPU` that the guest sees, as of machine create (default: as it is)")
	c.Flags().Var(sizeValue{&z.MemoryMiB}, "memory", "memory, as 512M or 2G (default: as it is)")
	c.Flags().BoolVar(&dry, "dry-run", false, "tell what would happen, and change nothing")
	_ = c.RegisterFlagCompletionFunc("disk", a.diskNames())
	return c
}

func (a *app) planResize(r run, z client.ResizeRequest) error {
	p, err := r.api.PlanResize(r.ctx, r.args[0], z)
	if err != nil {
		return err
	}
	return printOne(a, p, resizeColumns)
}

var resizeColumns = []column[client.ResizePlan]{
	{title: "machine", value: func(p client.ResizePlan) string { return p.Machine }},
	{title: "host", value: func(p client.ResizePlan) string { return p.Host }},
	{title: "now", value: func(p client.ResizePlan) string { return sizeText(p.Before) }},
	{title: "then", value: func(p client.ResizePlan) string { return sizeText(p.After) }},
	{title: "steps", value: func(p client.ResizePlan) string { return strings.Join(p.Steps, " ") }},
}

func sizeText(z client.Size) string {
	text := fmt.Sprintf("CPUs %d (%s), memory %s", z.CPUs, dash(string(z.CPU)), mibText(z.MemoryMiB))
	for _, d := range z.Disks {
		text += fmt.Sprintf(", disk %s %s", d.Name, mibText(d.SizeMiB))
	}
	return text
}

// resized says how large a machine is now.
func resized(j droveway.Job) string {
	name := strings.TrimPrefix(j.Subject, "machine/")
	var z client.Size
	if client.Decode(j.Result, &z) != nil {
		return fmt.Sprintf("machine %s resized", name)
	}
	return fmt.Sprintf("machine %s has %s", name, sizeText(z))
}

// diskSizes is a flag NAME=SIZE that may be repeated.
type diskSizes struct{ all *[]client.DiskSize }

func (v diskSizes) String() string { return "" }

func (v diskSizes) Type() string { return "disk" }

func (v diskSizes) Set(s string) error {
	name, size, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return droveway.Errorf(droveway.Invalid, "%q: write a disk and its new size, as root=20G", s)
	}
	n, err := parseMiB(size)
	if err == nil && n == 0 {
		err = droveway.Errorf(droveway.Invalid, "size %q: a disk cannot be empty", size)
	}
	*v.all = append(*v.all, client.DiskSize{Name: name, SizeMiB: n})
	return err
}

// countValue is a flag with a number from 1.
type countValue struct{ n *int }

func (v countValue) String() string { return "" }

func (v countValue) Type() string { return "number" }

func (v countValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return droveway.Errorf(droveway.Invalid, "%q: give a whole number from 1", s)
	}
	*v.n = n
	return nil
}

// diskNames completes the disks of the machine that was named, up to their size.
func (a *app) diskNames() completer {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		if len(args) == 0 {
			return nil, directive
		}
		disks := func(api *client.Client, ctx context.Context) ([]droveway.Disk, error) {
			m, err := api.Machine(ctx, args[0])
			return m.Spec.Disks, err
		}
		names, _ := namesOf(a, disks, func(d droveway.Disk) string { return d.Name + "=" })(c, args, word)
		return names, directive
	}
}
