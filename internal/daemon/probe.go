package daemon

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/discover/probe"
	"github.com/droveway/droveway/internal/discover/probe/emit"
	"github.com/droveway/droveway/internal/discover/service"
	"github.com/droveway/droveway/internal/engine/bus"
)

// ProbeConfig says how a probe is to be.
type ProbeConfig struct {
	Member
	Site   string        // given at the join; empty: default
	Source string        // of connections; empty: the best that works
	Ahead  time.Duration // in trials: report as if the machine's clock were so far ahead
	Own    bool          // watch the network namespace that the probe is in, and no other
	Active bool          // may connections of patterns be opened
	OptOut []emit.Target // never toward these
}

// Probe watches this machine until ctx ends. One that has no identity yet joins
// the fleet first.
func Probe(ctx context.Context, cfg ProbeConfig) error {
	unlock, err := lock(&cfg.Data, "probe")
	if err != nil {
		return err
	}
	defer unlock()
	if err := runProbe(ctx, cfg); ctx.Err() == nil {
		return err
	}
	return nil // whatever failed failed because the probe was told to stop
}

func runProbe(ctx context.Context, cfg ProbeConfig) error {
	id, err := identify(ctx, joining{Member: cfg.Member, role: bus.RoleProbe, site: cfg.Site})
	if err != nil {
		return err
	}
	conn, err := bus.Dial(ctx, id.Bus, cfg.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	host := id.Bus.Name
	p, err := probe.New(probe.Config{
		Host: host, Dir: cfg.Data, Sender: sender{conn, host}, Log: cfg.Log,
		Source: cfg.Source, Ahead: cfg.Ahead, Own: cfg.Own, Patterns: cfg.Active, OptOut: append(busTargets(ctx, id.Bus.URL), cfg.OptOut...),
	})
	if err != nil {
		return err
	}
	cfg.Log.Info("probe is running", "host", host, "bus", id.Bus.URL, "active", cfg.Active)
	g := newGroup(ctx)
	g.run("orders", func(ctx context.Context) error { return conn.Orders(ctx, host, obey(p)) })
	g.run("probe", p.Run)
	return g.end()
}

// busTargets are the addresses of the bus, over which the probe itself reports. A
// pattern toward them would show nothing that is not known.
func busTargets(ctx context.Context, urls string) (all []emit.Target) {
	for u := range strings.SplitSeq(urls, ",") {
		at, err := url.Parse(u)
		if err != nil {
			continue
		}
		port, err := strconv.ParseUint(at.Port(), 10, 16)
		if err != nil {
			continue
		}
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", at.Hostname())
		if err != nil {
			continue // of a cluster some may be away
		}
		for _, a := range found {
			a = a.Unmap().WithZone("")
			all = append(all, emit.Target{Addresses: netip.PrefixFrom(a, a.BitLen()), Port: uint16(port)})
		}
	}
	return all
}

// sender sends the reports of a host.
type sender struct {
	conn *bus.Conn
	host string
}

func (s sender) Send(ctx context.Context, report []byte) error {
	return s.conn.Report(ctx, s.host, report)
}

// obey carries out orders of the server.
func obey(p *probe.Probe) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var o service.Order
		if err := json.Unmarshal(raw, &o); err != nil {
			return droveway.Errorf(droveway.Invalid, "read an order: %w", err)
		}
		if o.Cancel != "" {
			p.Cancel(o.Cancel)
			return nil
		}
		if o.Emit == nil {
			return droveway.Errorf(droveway.Unsupported, "the probe does not know this order: update it")
		}
		return p.Assign(*o.Emit)
	}
}

const probeMemory = 36 << 20

func probeCommand() *cobra.Command {
	var cfg ProbeConfig
	var optOut []string
	c := &cobra.Command{
		Use: "probe", Short: "Watch who this machine talks to; with a verb: the probes of the fleet", Args: cli.NoOperands,
		Example: "  droveway probe --server https://192.0.2.1:7443 --ca ca-cert.pem --name db-1 --site berlin --token TOKEN",
		RunE: func(c *cobra.Command, _ []string) error {
			frugal(probeMemory)
			for _, s := range optOut {
				o, err := cli.ParseOptOut(s)
				if err != nil {
					return err
				}
				cfg.OptOut = append(cfg.OptOut, emit.Target{Addresses: o.Addresses, Port: o.Port})
			}
			return Probe(c.Context(), cfg)
		},
	}
	cfg.flags(c, "probe")
	f := c.Flags()
	f.StringVar(&cfg.Site, "site", "", "`site` in which private addresses mean something, given at the join (default: default)")
	f.StringVar(&cfg.Source, "source", "", "`source` of connections (default: the best that works)")
	f.DurationVar(&cfg.Ahead, "clock-ahead", 0, "in trials: report as if the machine's clock were `so-far` ahead")
	f.BoolVar(&cfg.Own, "own-namespace", false, "watch the network namespace that the probe is in, and no other: not the containers")
	f.StringSliceVar(&optOut, "opt-out", nil, "`target` that this probe sends no pattern to, whatever the policy says: 192.0.2.0/24 or 192.0.2.1:443")
	f.BoolVar(&cfg.Active, "active", false, "emit patterns where the policy of the fleet allows it")
	return c
}
