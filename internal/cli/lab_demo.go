package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/demo"
)

func labDemo(a *app) *cobra.Command {
	conf := demo.Config{Out: "out"}
	c := &cobra.Command{Use: "demo", Short: "Move a real Debian guest and prove that nothing was lost", Args: NoOperands}
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		conf.Print, conf.Log = a.env.Out, a.labLog()
		if conf.Binary, err = os.Executable(); err != nil {
			return droveway.Errorf(droveway.Internal, "find this program: %w", err)
		}
		return demo.Run(c.Context(), conf)
	}
	c.Flags().StringVar(&conf.Image, "image", "", "`disk` with Debian and the guest program (default: built from packages)")
	c.Flags().StringVar(&conf.Out, "out", conf.Out, "`directory` for demo.json")
	return c
}
