package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

func eventCommand(a *app) *cobra.Command {
	return group("event", "What happens in the fleet", eventWatch(a))
}

var errEnough = errors.New("enough events")

func eventWatch(a *app) *cobra.Command {
	var subject string
	var since uint64
	var count int
	c := a.verb("watch", "Print events as they happen, until interrupted", nil, func(r run) error {
		if !r.cmd.Flags().Changed("since") {
			since = client.FromNow
		}
		seen := 0
		err := r.api.Events(r.ctx, since, subject, func(seq uint64, e droveway.Event) error {
			if err := a.printEvent(seq, e); err != nil {
				return err
			}
			if seen++; seen == count {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	c.Example = `  droveway event watch --subject machine/web-1
  droveway event watch --since 0 -o json | jq .type`
	c.Flags().StringVar(&subject, "subject", "", "only events of this `object`, as machine/web-1")
	c.Flags().Uint64Var(&since, "since", 0, "begin after the event with this `number`, 0: with the first one (default: only new ones)")
	c.Flags().IntVar(&count, "count", 0, "stop after so many events (default: go on)")
	return c
}

// printEvent prints an event in a line; as YAML, each is a document.
func (a *app) printEvent(seq uint64, e droveway.Event) error {
	switch a.output {
	case "json":
		raw, err := json.Marshal(e)
		if err != nil {
			return droveway.Errorf(droveway.Internal, "print event %d: %w", seq, err)
		}
		return writeLine(a.env.Out, string(raw))
	case "yaml":
		if err := writeLine(a.env.Out, "---"); err != nil {
			return err
		}
		return a.encode(e)
	}
	line := fmt.Sprintf("%-6d %s  %-20s %-24s %-12s %s", seq, stamp(e.Time), e.Type, e.Subject, e.Source, e.Data)
	return writeLine(a.env.Out, strings.TrimRight(plain(line), " "))
}
