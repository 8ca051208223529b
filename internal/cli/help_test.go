package cli_test

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/daemon"
)

// plainFlags are as many flags as a command may have that shows no example.
const plainFlags = 2

func TestHelp(t *testing.T) {
	t.Parallel()
	root := cli.New(cli.Env{}, daemon.Roles())
	every(root, func(c *cobra.Command) {
		own := 0
		c.NonInheritedFlags().VisitAll(func(*pflag.Flag) { own++ })
		if own > plainFlags && c.Example == "" {
			t.Errorf("%s has %d flags of its own and no example", c.CommandPath(), own)
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  droveway ") {
				t.Errorf("%s: the example %q is no command", c.CommandPath(), line)
			}
		}
	})
}

// Examples are commands and flags that there are.
func TestExamplesAreUnderstood(t *testing.T) {
	t.Parallel()
	root := cli.New(cli.Env{}, daemon.Roles())
	every(root, func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " -- ")
			got, args, err := cli.New(cli.Env{}, daemon.Roles()).Find(strings.Fields(line)[1:])
			if err != nil || got.CommandPath() != c.CommandPath() {
				t.Errorf("%s: the example %q is of %s, %v", c.CommandPath(), line, got.CommandPath(), err)
				continue
			}
			if err := got.ParseFlags(args); err != nil {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
}

func every(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		every(sub, do)
	}
}
