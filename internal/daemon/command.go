package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/pki"
)

// Roles gives the commands that run a role.
func Roles() cli.Roles {
	return cli.Roles{Host: hostCommand(), Probe: probeCommand(), Others: []*cobra.Command{serverCommand()}}
}

// logFlags say what is logged.
type logFlags struct {
	level slog.Level
	json  bool
}

func (f *logFlags) add(c *cobra.Command) {
	c.Flags().TextVar(&f.level, "log-level", slog.LevelInfo, "least `level` that is logged: debug, info, warn or error")
	c.Flags().BoolVar(&f.json, "log-json", false, "log lines as JSON")
}

func (f *logFlags) logger(c *cobra.Command) *slog.Logger {
	opts := &slog.HandlerOptions{Level: f.level}
	if f.json {
		return slog.New(slog.NewJSONHandler(c.ErrOrStderr(), opts))
	}
	return slog.New(slog.NewTextHandler(c.ErrOrStderr(), opts))
}

// frugal makes the collector spend time to save memory: a role is idle most of
// its life. What the operator says in the environment counts more.
func frugal(limit int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
}

const (
	serverMemory = 896 << 20 // 640 MiB for the connections of 10,000 hosts
	hostMemory   = 128 << 20
)

func serverCommand() *cobra.Command {
	var cfg ServerConfig
	var log logFlags
	c := &cobra.Command{
		Use: "server", Short: "Run the server of a fleet", Args: cli.NoOperands,
		Example: "  droveway server --data /var/lib/droveway/server --listen 192.0.2.1:7443 --bus-listen 192.0.2.1:7422",
		RunE: func(c *cobra.Command, _ []string) error {
			frugal(serverMemory)
			cfg.Log = log.logger(c)
			return Server(c.Context(), cfg)
		},
	}
	log.add(c)
	f := c.Flags()
	c.PersistentFlags().StringVar(&cfg.Data, "data", "/var/lib/droveway/server", "data `directory`; admin.json in it is the context file for the command line")
	f.StringVar(&cfg.Listen, "listen", ":7443", "`address` of the API")
	f.StringVar(&cfg.BusListen, "bus-listen", "", "`address` of the bus (default: port 7422 beside the API)")
	f.StringVar(&cfg.NBDListen, "nbd-listen", "", "`address` where hosts read the disks of machines that run from an image which is not here yet (default: port 7424 beside the API)")
	f.StringSliceVar(&cfg.Advertise, "advertise", nil, "`address` or name under which hosts reach the server (default: found out)")
	f.StringVar(&cfg.NATS, "nats", "", "`URL` of an external NATS instead of the embedded one")
	f.StringVar(&cfg.NATSSeed, "nats-seed", "", "`file` with the seed of the account on the external NATS (default: that of the data directory)")
	f.StringVar(&cfg.Kernel, "appliance-kernel", "", "`directory` with boot/ and lib/modules/ of the kernel that repairs of images run on (default: this machine's)")
	f.StringVar(&cfg.GuestUser, "guest-user", "", "`user` that repairs and boot checks of images run as (default: droveway or nobody, for root)")
	c.AddCommand(busConfigCommand(&cfg))
	return c
}

// busConfigCommand prints how an external NATS has to be set up.
func busConfigCommand(cfg *ServerConfig) *cobra.Command {
	return &cobra.Command{
		Use: "bus-config", Short: "Print the configuration for an external NATS", Args: cli.NoOperands,
		RunE: func(c *cobra.Command, _ []string) error {
			authority, err := pki.Open(filepath.Join(cfg.Data, "pki"))
			if err != nil {
				return err
			}
			text, err := bus.ExternalConfig(filepath.Join(cfg.Data, "bus"), authority)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), text)
			return err
		},
	}
}

func hostCommand() *cobra.Command {
	var cfg HostConfig
	var address string
	var peers []string
	c := &cobra.Command{
		Use: "host", Short: "Run this machine as a host; with a verb: the hosts of the fleet", Args: cli.NoOperands,
		Example: `  droveway host --server https://192.0.2.1:7443 --ca ca-cert.pem --name host-a --address 192.0.2.11 --token TOKEN`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			frugal(hostMemory)
			if address != "" {
				if cfg.Address, err = parseAddr("--address", address); err != nil {
					return err
				}
			}
			for _, p := range peers {
				a, err := parseAddr("--vxlan-peer", p)
				if err != nil {
					return err
				}
				cfg.Peers = append(cfg.Peers, a)
			}
			return Host(c.Context(), cfg)
		},
	}
	cfg.flags(c, "host")
	f := c.Flags()
	f.StringVar(&address, "address", "", "IP `address` for the traffic between hosts (default: the one that reaches the server)")
	cfg.Driver = "qemu"
	cli.AddChoice(c, &cfg.Driver, "driver", "what runs guests: qemu, or mem for tests", "qemu", "mem")
	f.StringVar(&cfg.GuestUser, "guest-user", "", "`user` that guests run as (default: droveway, or else nobody)")
	cli.AddChoice(c, &cfg.Accel, "accel", "kvm or tcg (default: the best there is)", "kvm", "tcg")
	f.StringSliceVar(&cfg.HideCPU, "hide-cpu", nil, "`flags` of the CPU that no guest gets here, as avx512f,rtm: for hosts whose guests must be able to move to older ones, or that have a flag that is not to be trusted")
	f.StringSliceVar(&peers, "vxlan-peer", nil, "IP `address` that takes part in machine networks besides the hosts")
	return c
}

func parseAddr(flag, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, droveway.Errorf(droveway.Invalid, "%s %q: give an IP address", flag, s)
	}
	return a, nil
}
