package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway/client"
)

// run is one use of a verb.
type run struct {
	ctx  context.Context
	api  *client.Client
	args []string
	cmd  *cobra.Command
}

// verb makes a command that talks to the server. The words of use in capitals
// are its operands, all of them needed; complete gives the names for the first.
func (a *app) verb(use, short string, complete completer, do func(run) error) *cobra.Command {
	names := strings.Fields(use)[1:]
	c := &cobra.Command{Use: use, Short: short, Args: operands(names...), ValidArgsFunction: cobra.NoFileCompletions}
	if complete != nil {
		c.ValidArgsFunction = once(complete)
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		defer api.Close()
		return do(run{ctx: cmd.Context(), api: api, args: args, cmd: cmd})
	}
	return c
}
