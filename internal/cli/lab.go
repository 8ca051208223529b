package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab"
)

const labLong = `Run a whole fleet on this machine, as root: a server and hosts as real processes
in network namespaces, with links between them.`

func labCommand(a *app) *cobra.Command {
	var dir string
	c := group("lab", "A fleet on one machine, to try and to test", labUp(a, &dir), labDown(a, &dir), labExec(a, &dir), labDemo(a), labDisk())
	c.Long = labLong
	c.PersistentFlags().StringVar(&dir, "dir", "/var/lib/droveway/lab", "`directory` of the lab")
	return c
}

func (a *app) labLog() *slog.Logger { return slog.New(slog.NewTextHandler(a.env.Err, nil)) }

func labUp(a *app, dir *string) *cobra.Command {
	conf := lab.Config{Hosts: 2, Uplink: true}
	c := &cobra.Command{Use: "up", Short: "Start a lab", Args: NoOperands}
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		conf.Dir, conf.Log = *dir, a.labLog()
		if conf.Binary, err = os.Executable(); err != nil {
			return droveway.Errorf(droveway.Internal, "find this program: %w", err)
		}
		l, err := lab.Up(c.Context(), conf)
		if err != nil {
			return err
		}
		return printOne(a, labOf(l), labColumns)
	}
	c.Example = `  droveway lab up
  droveway lab up --hosts 3 --link-rate 1Gbit`
	c.Flags().IntVar(&conf.Hosts, "hosts", conf.Hosts, "number of hosts")
	c.Flags().Var(bitsValue{&conf.LinkRate}, "link-rate", "what the link of a host carries each way, as 1Gbit (default: no limit)")
	c.Flags().BoolVar(&conf.Uplink, "uplink", conf.Uplink, "let this machine reach the lab; one lab at a time can have it")
	return c
}

// labDisk is a process of a lab whose hosts have disks that can go bad.
func labDisk() *cobra.Command {
	return &cobra.Command{
		Use: "disk IMAGE PATH", Short: "Show an image as the file PATH, which can be made unreadable", Args: cobra.ExactArgs(2), Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error { return lab.ServeDisk(args[0], args[1]) },
	}
}

// labState is a lab as it is shown.
type labState struct {
	Context string   `json:"context"`
	Hosts   []string `json:"hosts"`
}

func labOf(l *lab.Lab) labState { return labState{l.ContextFile(), l.Hosts()} }

var labColumns = []column[labState]{
	{title: "hosts", value: func(s labState) string { return strings.Join(s.Hosts, " ") }},
	{title: "context", value: func(s labState) string { return s.Context }},
	{title: "use it", value: func(s labState) string { return "export DROVEWAY_CONTEXT=" + s.Context }},
}

func labDown(a *app, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End a lab and remove every trace of it", Args: NoOperands,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := lab.Down(c.Context(), *dir); err != nil {
				return err
			}
			return a.note("lab", *dir, "removed")
		},
	}
}

func labExec(a *app, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "exec PLACE -- COMMAND...", Short: "Run a command in the network of a place: server, client, or a host",
		DisableFlagsInUseLine: true,
		Example: `  droveway lab exec host-a -- ip address
  droveway lab exec client -- ping -c 3 10.20.0.10`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return droveway.Errorf(droveway.Invalid, "a place and a command are needed: see %s --help", c.CommandPath())
			}
			l, err := lab.Load(*dir, a.labLog())
			if err != nil {
				return err
			}
			return a.execIn(c.Context(), l, args)
		},
	}
}

func (a *app) execIn(ctx context.Context, l *lab.Lab, args []string) error {
	place, err := placeIn(l, args[0])
	if err != nil {
		return err
	}
	cmd := l.Command(ctx, place, args[1], args[2:]...)
	cmd.Env = append(os.Environ(), "DROVEWAY_CONTEXT="+l.ContextFile())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.env.In, a.env.Out, a.env.Err
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &commandFailed{args[1], exit.ExitCode()}
	}
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "run %s in %s: %w", args[1], args[0], err)
	}
	return nil
}

// placeIn is the namespace of a place.
func placeIn(l *lab.Lab, name string) (string, error) {
	switch {
	case name == "server":
		return l.ServerNS(), nil
	case name == "client":
		return l.ClientNS(), nil
	case slices.Contains(l.Hosts(), name):
		return l.HostNS(name), nil
	}
	return "", droveway.Errorf(droveway.NotFound, "the lab has no place %q: it has server, client, %s", name, strings.Join(l.Hosts(), ", "))
}

// commandFailed is a command of somebody else that was run and failed. Its exit
// code becomes ours.
type commandFailed struct {
	name string
	code int
}

func (e *commandFailed) Error() string { return fmt.Sprintf("%s failed with code %d", e.name, e.code) }

// bitsValue is a flag in bits a second, with decimal units as is usual for
// links.
type bitsValue struct{ bits *int64 }

func (v bitsValue) String() string { return "" }

func (v bitsValue) Type() string { return "rate" }

func (v bitsValue) Set(s string) error {
	for _, u := range []struct {
		suffix string
		bits   int64
	}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}} {
		number, ok := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(s, "/s")), u.suffix)
		n, err := strconv.ParseInt(number, 10, 32)
		if ok && err == nil && n > 0 {
			*v.bits = n * u.bits
			return nil
		}
	}
	return droveway.Errorf(droveway.Invalid, "rate %q: write a whole number with Kbit, Mbit or Gbit, as 1Gbit", s)
}
