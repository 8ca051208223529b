package cli

import (
	"github.com/spf13/cobra"

	"github.com/droveway/droveway/client"
)

const rateLong = `Bound the copy of the disks of a machine that moves or restarts at this moment, as
50M a second; 0: no bound. It holds from now on, until the disks are copied, and
whoever goes on with the move after a crash keeps to it.`

func machineRate(a *app) *cobra.Command {
	c := a.verb("rate MACHINE RATE", "Bound the disk copy of a machine that moves", a.machineNames(), func(r run) error {
		rate, err := parseRate(r.args[1])
		if err != nil {
			return err
		}
		j, err := r.api.SetMoveRate(r.ctx, r.args[0], client.RateRequest{SyncRate: rate})
		if err != nil {
			return err
		}
		return printOne(a, j, jobColumns)
	})
	c.Long = rateLong
	c.Example = `  droveway machine rate web-1 20M
  droveway machine rate web-1 0`
	return c
}
