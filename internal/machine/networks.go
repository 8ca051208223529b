package machine

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
)

// defaultVNI is the identifier of the default network.
const defaultVNI = 4242

// ensureDefaultNetwork makes the default network, 10.20.0.0/16, if there is no
// network of that name.
func ensureDefaultNetwork(ctx context.Context, f *fleet.Fleet) error {
	n := droveway.Network{
		Meta:   droveway.Meta{Name: defaultNetwork, Created: time.Now().UTC()},
		Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, 0, 0}), 16),
		VNI:    defaultVNI,
	}
	if err := f.Networks.Create(ctx, n.Name, n); err != nil && !droveway.Is(err, droveway.Exists) {
		return err
	}
	return nil
}

// pushed remembers what each host was told of the networks, so that it is told
// again only when there is news.
type pushed struct {
	mu sync.Mutex
	to map[string]string
}

func (p *pushed) get(host string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to[host]
}

func (p *pushed) set(host, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to[host] = what
}

// reconcileNetworks tells a host the networks if it does not know them. A host
// that was away is told anew: it may have been restarted.
func (c *Controller) reconcileNetworks(ctx context.Context, name string) error {
	h, _, err := c.cfg.Fleet.Hosts.Get(ctx, name)
	if droveway.Is(err, droveway.NotFound) {
		c.pushed.set(name, "")
		return nil
	}
	if err != nil {
		return err
	}
	if h.Status.State != droveway.HostReady {
		c.pushed.set(name, "")
		return nil
	}
	all, text, err := c.networks(ctx)
	if err != nil || c.pushed.get(name) == text {
		return err
	}
	return c.push(ctx, name, all, text)
}

// tellNetworks tells a host the networks whether it knows them or not.
func (c *Controller) tellNetworks(ctx context.Context, host string) error {
	all, text, err := c.networks(ctx)
	if err != nil {
		return err
	}
	return c.push(ctx, host, all, text)
}

func (c *Controller) push(ctx context.Context, to string, all host.Networks, text string) error {
	if err := c.cfg.Hosts.Networks(ctx, to, all); err != nil {
		return err
	}
	c.pushed.set(to, text)
	return nil
}

// networks is what hosts are told, and a text that differs whenever it does.
func (c *Controller) networks(ctx context.Context) (n host.Networks, text string, err error) {
	if n.Networks, err = c.cfg.Fleet.Networks.List(ctx); err != nil {
		return n, "", err
	}
	hosts, err := c.cfg.Fleet.Hosts.List(ctx)
	if err != nil {
		return n, "", err
	}
	n.Peers = peers(hosts)
	b, err := json.Marshal(n)
	return n, string(b), err
}

// peers is the addresses of the hosts. One that has no address yet, or none that
// can be read, is left out until it reports one.
func peers(hosts []droveway.Host) (addrs []netip.Addr) {
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h.Status.Address); err == nil {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
