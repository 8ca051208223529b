package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// quietLoad is the load for each CPU below which a machine counts as quiet.
const quietLoad = 0.3

// print writes the report for a person.
func (r report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "disk\tmode\truns\trequest to running\tlongest gap\tat the switch\tQEMU's downtime\trestart's downtime\tsync\tMiB/s\twrites/s before\tduring\tall done\tlost\t")
	for _, k := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", sizeText(k.DiskMiB), k.Mode, k.Runs,
			msText(k.RequestToRunning), msText(k.ClientGap), msText(k.SwitchGap), msText(k.QEMUDowntime), msText(k.Downtime),
			msText(k.Sync*1000), whole(k.SyncRate), whole(k.WritesBefore), whole(k.WritesDuring), msText(k.RequestToDone), k.Lost)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	for _, l := range r.LeftOut {
		fmt.Fprintf(w, "left out: %s: %s\n", l.trial, l.Why)
	}
	if busy := r.Setting.LoadBefore; busy > quietLoad*float64(r.Setting.CPUs) {
		fmt.Fprintf(w, "the machine was busy with other things (load %.1f): these figures say little\n", busy)
	}
	return r.printBars(w)
}

func (r report) printBars(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nreached\tbar\twanted\tmeasured")
	for _, b := range r.Bars {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", b.word(), b.Name, b.Want, b.Got)
	}
	return t.Flush()
}

func (b bar) word() string {
	switch {
	case b.Reached == nil:
		return "not measured"
	case *b.Reached:
		return "yes"
	}
	return "NO"
}

func whole(f figure) string {
	if !f.known() {
		return "–"
	}
	return fmt.Sprintf("%.0f", f)
}

func sizeText(mib int64) string {
	if mib >= 1024 && mib%1024 == 0 {
		return fmt.Sprintf("%d GiB", mib/1024)
	}
	return fmt.Sprintf("%d MiB", mib)
}

// msText writes milliseconds in the unit that a person would use.
func msText(ms figure) string {
	switch {
	case !ms.known():
		return "–"
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.2f s", ms/1000)
	case ms < 100_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.0f s", ms/1000)
}
