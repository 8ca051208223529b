package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/droveway/droveway"
)

func manCommand(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "man", Short: "Write the manual pages", Args: NoOperands,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := writePages(dir, c.Root())
			if err != nil {
				return err
			}
			return a.note("manual:", fmt.Sprintf("%d pages", n), "written to "+dir)
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "`directory` to write them into")
	return c
}

// writePages writes the page of a command and of all below it, and counts them.
func writePages(dir string, c *cobra.Command) (int, error) {
	var b strings.Builder
	page(&b, c)
	path := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return 0, droveway.Errorf(droveway.Invalid, "write a manual page: %w", err)
	}
	n := 1
	for _, sub := range c.Commands() {
		if sub.Hidden {
			continue
		}
		below, err := writePages(dir, sub)
		if err != nil {
			return 0, err
		}
		n += below
	}
	return n, nil
}

// page writes a page in the man macros (see man(7)).
func page(w io.Writer, c *cobra.Command) {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(w, ".TH %s 1 \"\" \"Droveway\" \"Droveway\"\n", strings.ToUpper(roff(name)))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	if c.Long != "" {
		fmt.Fprintf(w, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(c.Long))
	}
	flagSection(w, "OPTIONS", c.NonInheritedFlags())
	flagSection(w, "GLOBAL OPTIONS", c.InheritedFlags())
	if c.Example != "" {
		fmt.Fprintf(w, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	if !c.HasAvailableSubCommands() {
		return
	}
	fmt.Fprint(w, ".SH COMMANDS\n")
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
		}
	}
}

func flagSection(w io.Writer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(w, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		short := ""
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(short+"--"+f.Name+" "+value)), roff(usage))
	})
}

// roff escapes text: backslashes, hyphens that are to be typed, and dots that
// would begin a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
