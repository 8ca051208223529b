package daemon

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

// Member is what a host and a probe have in common: both join the fleet. Token and CA
// are needed for that only, and Name is kept from then on.
type Member struct {
	Data   string // directory; made if it is missing
	Server string // https URL
	CA     string // file with the server's CA, PEM
	Token  string // join token of the role
	Name   string // empty: that of the machine
	Log    *slog.Logger
}

// flags gives a role's command the flags for it, and fills in before the command runs
// what they leave open.
func (m *Member) flags(c *cobra.Command, role string) {
	var log logFlags
	log.add(c)
	f := c.Flags()
	f.StringVar(&m.Data, "data", "/var/lib/droveway/"+role, "data `directory`")
	f.StringVar(&m.Server, "server", "", "`URL` of the server, as https://server:7443")
	f.StringVar(&m.CA, "ca", "", "`file` with the server's CA (pki/ca-cert.pem of its data directory)")
	f.StringVar(&m.Token, "token", "", "join token of role "+role+", needed once (default $DROVEWAY_TOKEN)")
	f.StringVar(&m.Name, "name", "", "name in the fleet (default: that of the machine)")
	c.PreRun = func(c *cobra.Command, _ []string) {
		m.Log = log.logger(c)
		if m.Token == "" {
			m.Token = os.Getenv("DROVEWAY_TOKEN") // not in the list of processes
		}
	}
}
