package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// Env is the world around a command.
type Env struct {
	In      io.Reader
	Out     io.Writer           // results
	Err     io.Writer           // errors and progress
	Columns func() int          // width of the terminal that Err is, 0: not known; nil: Err is none, and progress does not redraw its line
	Getenv  func(string) string // as os.Getenv
}

// app is what the commands share.
type app struct {
	env     Env
	context string // --context
	output  string // --output
}

// Roles are the commands that run a role. They are made by whoever can wire one
// together.
type Roles struct {
	Host   *cobra.Command // droveway host; nil: it holds only the verbs
	Probe  *cobra.Command // droveway probe; nil: as Host
	Others []*cobra.Command
}

// New makes the command line.
func New(env Env, roles Roles) *cobra.Command {
	a := &app{env: env}
	root := group("droveway", "Moves machines without stopping them",
		hostCommand(a, roles.Host), probeCommand(a, roles.Probe), relationCommand(a), imageCommand(a), machineCommand(a), networkCommand(a),
		jobCommand(a), eventCommand(a), tokenCommand(a),
		labCommand(a), versionCommand(a), manCommand(a), exitCodes())
	root.AddCommand(roles.Others...)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return droveway.Errorf(droveway.Invalid, "%w: see %s --help", err, c.CommandPath())
	})
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped "+strconv.Itoa(helpColumns)))
	flags := root.PersistentFlags()
	flags.StringVar(&a.context, "context", "", "context `file` of the server (default $DROVEWAY_CONTEXT, then ~/.config/droveway/context.json)")
	flags.StringVarP(&a.output, "output", "o", "table", "how to print results: table, json or yaml")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return validOutput(a.output) }
	return root
}

// helpColumns is how wide the flags of a help are: any terminal has as many.
const helpColumns = 80

// Main runs the command line and gives its exit code.
func Main(ctx context.Context, args []string, env Env, roles Roles) int {
	root := New(env, roles)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	fmt.Fprintln(env.Err, "droveway:", err)
	return exitCode(err)
}

// group makes a command that only holds others. Without Run of its own cobra
// would take a slip of the keyboard for a wish for help, and succeed.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return droveway.Errorf(droveway.Invalid, "%s has no command %q: see %s --help", c.CommandPath(), args[0], c.CommandPath())
	}
	c.AddCommand(verbs...)
	return c
}

// NoOperands refuses any argument.
func NoOperands(c *cobra.Command, args []string) error { return operands()(c, args) }

// operands refuses any other number of arguments than there are names.
func operands(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return droveway.Errorf(droveway.Invalid, "%s: %s is missing: see %s --help", c.CommandPath(), names[len(args)], c.CommandPath())
		case len(args) > len(names):
			return droveway.Errorf(droveway.Invalid, "%s: %q is one argument too many: see %s --help", c.CommandPath(), args[len(names)], c.CommandPath())
		}
		return nil
	}
}

// client makes the client for the context that was asked for.
func (a *app) client() (*client.Client, error) {
	path, err := a.contextPath()
	if err != nil {
		return nil, err
	}
	c, err := client.LoadContext(path)
	if err != nil {
		return nil, err
	}
	return client.New(c)
}

func (a *app) contextPath() (string, error) {
	if a.context != "" {
		return a.context, nil
	}
	if path := a.env.Getenv("DROVEWAY_CONTEXT"); path != "" {
		return path, nil
	}
	return client.DefaultContextPath()
}
