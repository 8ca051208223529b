package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/droveway/droveway"
)

var plannedImageColumns = []column[droveway.PlannedImage]{
	{title: "image", value: func(i droveway.PlannedImage) string { return i.Name }},
	{title: "from", value: func(i droveway.PlannedImage) string { return strings.TrimSpace(i.From + " " + i.Member) }},
	{title: "becomes", value: becomes},
	{title: "size", value: func(i droveway.PlannedImage) string { return bytesText(i.Size) }},
	{title: "system", value: func(i droveway.PlannedImage) string { return systemText(i.System) }},
	{title: "firmware", value: func(i droveway.PlannedImage) string { return string(i.Firmware) }},
	{title: "repair", value: func(i droveway.PlannedImage) string { return yesNo(i.Repair) }},
	{title: "check", value: func(i droveway.PlannedImage) string { return yesNo(i.Check) }},
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// foreseen lists what will not work and what a repair would change.
func (a *app) foreseen(i droveway.PlannedImage) error {
	if i.System == nil || len(i.System.Findings)+len(i.System.Steps) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.env.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s\tWHAT\tWHY\n", strings.ToUpper(i.Name))
	for _, f := range i.System.Findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.What, strings.TrimSuffix(f.Why+": "+f.Advice, ": "))
	}
	for _, s := range i.System.Steps {
		what := s.What
		if len(s.Runs) > 0 {
			what += ", by " + strings.Join(s.Runs, ", ")
		}
		fmt.Fprintf(w, "change\t%s\t%s\n", what, s.Why)
	}
	return flush(w)
}

func becomes(i droveway.PlannedImage) string {
	if i.Repair {
		return string(droveway.QCOW2) + ", repaired"
	}
	if i.Member == "" && string(i.Format) == strings.Fields(i.From + " ?")[0] {
		return string(i.Format) + ", as it is"
	}
	return string(i.Format)
}

func (a *app) printPlan(p droveway.ImportPlan) error {
	if a.output != "table" {
		return a.encode(p)
	}
	if err := printList(a, p.Images, plannedImageColumns); err != nil {
		return err
	}
	for _, i := range p.Images {
		if err := a.foreseen(i); err != nil {
			return err
		}
	}
	for _, n := range p.Notes {
		if err := writeLine(a.env.Out, "note: "+n); err != nil {
			return err
		}
	}
	return nil
}
