package cli

import (
	"github.com/spf13/cobra"

	"github.com/droveway/droveway/client"
)

var tokenColumns = []column[client.Token]{
	{title: "token", value: func(t client.Token) string { return t.Token }},
	{title: "role", value: func(t client.Token) string { return t.Role }},
	{title: "expires", value: func(t client.Token) string { return stamp(t.Expires) }},
}

func tokenCommand(a *app) *cobra.Command {
	return group("token", "Secrets that let somebody in", tokenCreate(a))
}

func tokenCreate(a *app) *cobra.Command {
	t := client.TokenRequest{Role: "host"}
	c := a.verb("create", "Create a token; it is shown once", nil, func(r run) error {
		out, err := r.api.CreateToken(r.ctx, t)
		if err != nil {
			return err
		}
		return printOne(a, out, tokenColumns)
	})
	c.Example = `  droveway token create --role host
  droveway token create --role probe --life 24h`
	AddChoice(c, &t.Role, "role", "what it is for: host lets one host join, probe one probe", "host", "probe")
	c.Flags().StringVar(&t.Life, "life", "", "how long it is good for, as 30m (default 1h)")
	return c
}
