package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/droveway/droveway/internal/image/repair"
)

// writePreflight shows what will not work and what a repair would change, a line
// each.
func writePreflight(w io.Writer, p *repair.Plan) {
	if len(p.Findings)+len(p.Steps) == 0 {
		return
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "PREFLIGHT\tWHAT\tWHY")
	for _, f := range p.Findings {
		why := f.Why
		if f.Advice != "" {
			why += ": " + f.Advice
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.What, why)
	}
	for _, s := range p.Steps {
		fmt.Fprintf(w, "change\t%s\t%s\n", s.What, s.Why)
	}
}

// writePlan shows each change in full. With full the guest's own programs run.
func writePlan(out io.Writer, p *repair.Plan, full bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	writePreflight(w, p)
	if err := flush(w); err != nil {
		return err
	}
	for _, s := range p.Steps {
		fmt.Fprintf(out, "\n%s: %s\n", s.Name, s.What)
		for _, f := range s.Files {
			writeFile(out, &f)
		}
		writeEntries(out, "SYSTEM", s.Registry)
		writeEntries(out, "SOFTWARE", s.Software)
		how := "run in the guest"
		if len(s.Programs(full)) == 0 {
			how = "no need to run in the guest"
		}
		for _, r := range s.Run {
			fmt.Fprintf(out, "  %s: %s\n", how, strings.Join(r, " "))
		}
	}
	if len(p.Findings)+len(p.Steps) == 0 {
		fmt.Fprintln(out, "nothing has to change")
	}
	return nil
}

func writeEntries(out io.Writer, hive string, entries []repair.Entry) {
	for _, e := range entries {
		fmt.Fprintf(out, "  registry %s\\%s: %q = %s\n", hive, e.Key, e.Name, e.Value)
	}
}

func writeFile(out io.Writer, f *repair.File) {
	switch {
	case f.Link != "":
		fmt.Fprintf(out, "  link %s -> %s\n", f.Path, f.Link)
	case len(f.Append) > 0:
		fmt.Fprintf(out, "  append to %s, keep %s\n", f.Path, repair.Kept(f.Path))
		for _, name := range f.Append {
			fmt.Fprintf(out, "    + %s\n", name)
		}
	case f.From != "":
		fmt.Fprintf(out, "  copy %s from %s\n", f.Path, f.From)
	case f.Was == "":
		fmt.Fprintf(out, "  new %s\n", f.Path)
	default:
		fmt.Fprintf(out, "  change %s, keep %s\n", f.Path, repair.Kept(f.Path))
	}
	for _, line := range f.Diff() {
		fmt.Fprintf(out, "    %s\n", line)
	}
}
