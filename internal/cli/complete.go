package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// A shell must not hang because the server does.
const completionTimeout = 2 * time.Second

type completer = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

// namesOf completes the first argument, or a flag, with the names of objects.
func namesOf[T any](a *app, list func(*client.Client, context.Context) ([]T, error), name func(T) string) completer {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer api.Close()
		ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
		defer cancel()
		items, err := list(api, ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		for _, it := range items {
			names = append(names, name(it))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// once completes the first argument only.
func once(f completer) completer {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, word)
	}
}

func (a *app) machineNames() completer {
	return namesOf(a, (*client.Client).Machines, func(m droveway.Machine) string { return m.Name })
}

func (a *app) hostNames() completer {
	return namesOf(a, (*client.Client).Hosts, func(h droveway.Host) string { return h.Name })
}

func (a *app) imageNames() completer {
	return namesOf(a, (*client.Client).Images, func(i droveway.Image) string { return i.Name })
}

func (a *app) networkNames() completer {
	return namesOf(a, (*client.Client).Networks, func(n droveway.Network) string { return n.Name })
}

func (a *app) jobNames() completer {
	return namesOf(a, (*client.Client).Jobs, func(j droveway.Job) string { return j.Name })
}
