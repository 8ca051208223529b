package host

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/droveway/droveway"
)

// fabric notes what it is asked for.
type fabric struct {
	mu    sync.Mutex
	peers map[string][]netip.Addr // of a network, last
	taps  []string
	said  []string
	fail  error
}

func (f *fabric) Ensure(_ context.Context, n droveway.Network, peers []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peers == nil {
		f.peers = map[string][]netip.Addr{}
	}
	f.peers[n.Name] = slices.Clone(peers)
	return nil
}

func (f *fabric) TAP(_ context.Context, _ uint32, name string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	f.taps = append(f.taps, name)
	return os.Open(os.DevNull)
}

func (f *fabric) Announce(_ context.Context, _ uint32, mac string, _ netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, mac)
	return nil
}

func (f *fabric) Forward(context.Context, uint32, string, *os.File) error { return nil }

func (f *fabric) Probe(context.Context, uint32, string, netip.Addr) error { return nil }

func (f *fabric) of(network string) []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peers[network]
}

var (
	addresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	usual     = droveway.Network{Meta: droveway.Meta{Name: "default"}, Subnet: netip.MustParsePrefix("10.20.0.0/16"), VNI: 4242}
)

func carded(token uint64) Instance {
	i := instance(token)
	i.NICs = []NIC{{Network: usual, MAC: "52:54:00:00:00:01", Address: netip.MustParsePrefix("10.20.0.10/16")}}
	return i
}

func addrs(all ...string) (list []netip.Addr) {
	for _, a := range all {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

// What the server said last is there for an agent that starts without it.
func TestNetworksAreKept(t *testing.T) {
	t.Parallel()
	r, f := newRig(t), &fabric{}
	n, ctx := r.host("a", func(c *Config) { c.Fabric, c.Peers = f, addrs("192.0.2.99") }), t.Context()
	said := Networks{Networks: []droveway.Network{usual}, Peers: addrs("127.0.0.1", "192.0.2.2")}
	must(t, r.Networks(ctx, "a", said))
	n.restart()
	if d := cmp.Diff(said, n.networks, addresses); d != "" {
		t.Error(d)
	}
	_, err := r.Create(ctx, "a", carded(5), nil)
	must(t, err)
	_, err = r.Start(ctx, "a", carded(5))
	must(t, err)
	if d := cmp.Diff(addrs("192.0.2.99", "192.0.2.2"), f.of("default"), addresses); d != "" {
		t.Errorf("peers of the network of a machine: %s", d)
	}
	must(t, r.Networks(ctx, "a", Networks{Peers: addrs("192.0.2.3")}))
	if d := cmp.Diff(addrs("192.0.2.99", "192.0.2.3"), f.of("default"), addresses); d != "" {
		t.Errorf("peers after another host has come: %s", d)
	}
	if len(f.taps) != 1 || len(f.taps[0]) > 15 {
		t.Errorf("devices %q", f.taps)
	}
}

// Orders that come at the same time leave one of them, on disk as in memory.
func TestNetworksAtTheSameTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	set := make(chan error)
	const times = 8
	for i := range times {
		go func() {
			set <- r.Networks(t.Context(), "a", Networks{Peers: slices.Repeat(addrs("192.0.2.1"), i*50)})
		}()
	}
	for range times {
		must(t, <-set)
	}
	was := n.networks
	n.restart()
	if d := cmp.Diff(was, n.networks, addresses); d != "" {
		t.Error(d)
	}
}

// A card that cannot be made keeps the machine from starting, and the driver is
// not asked.
func TestCardThatFails(t *testing.T) {
	t.Parallel()
	r, f := newRig(t), &fabric{fail: errors.New("no device")}
	n, ctx := r.host("a", func(c *Config) { c.Fabric = f }), t.Context()
	_, err := r.Create(ctx, "a", carded(5), nil)
	must(t, err)
	_, err = r.Start(ctx, "a", carded(5))
	if err == nil || !strings.Contains(err.Error(), "network card 0 of machine web: no device") {
		t.Error(err)
	}
	n.is(RoleIdle, "gone")
}
