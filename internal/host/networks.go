package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway/internal/hypervisor"
)

func (a *Agent) networksPath() string { return filepath.Join(a.cfg.Dir, "networks.json") }

// loadNetworks reads what the server said last, so that a host that starts
// without the server knows its peers.
func (a *Agent) loadNetworks() error {
	b, err := os.ReadFile(a.networksPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var n Networks
	if err := json.Unmarshal(b, &n); err != nil {
		to := a.networksPath() + ".damaged"
		a.cfg.Log.Error("what the server said of the networks is damaged and set aside: the server says it again", "file", to, "error", err)
		return os.Rename(a.networksPath(), to)
	}
	a.networks = n
	return nil
}

// setNetworks takes over what the server says, and brings the networks that are
// in use here up to date.
func (a *Agent) setNetworks(ctx context.Context, n Networks) (struct{}, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return struct{}{}, err
	}
	if err := a.keepNetworks(n, b); err != nil {
		return struct{}{}, fmt.Errorf("keep the networks of the fleet: %w", err)
	}
	return struct{}{}, a.refreshNetworks(ctx)
}

// keepNetworks has the lock while it writes, so that what is on disk is what was
// said last.
func (a *Agent) keepNetworks(n Networks, b []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := replace(a.networksPath(), b); err != nil {
		return err
	}
	a.networks = n
	return nil
}

func (a *Agent) refreshNetworks(ctx context.Context) error {
	if a.cfg.Fabric == nil {
		return nil
	}
	for _, m := range a.all() {
		if m.instance() == nil {
			continue
		}
		for _, c := range m.record().Instance.NICs {
			if err := a.cfg.Fabric.Ensure(ctx, c.Network, a.peers()); err != nil {
				return fmt.Errorf("network %s: %w", c.Network.Name, err)
			}
		}
	}
	return nil
}

// peers is every other address that takes part in machine networks.
func (a *Agent) peers() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := append([]netip.Addr(nil), a.cfg.Peers...)
	for _, p := range a.networks.Peers {
		if p != a.cfg.Address {
			all = append(all, p)
		}
	}
	return all
}

// forwardFor is how long frames for a guest that has left are sent on. The network
// knows the new place after the first.
const forwardFor = 10 * time.Second

// forward sends on, for a while, what still comes here for a guest that has left
// with its memory.
func (a *Agent) forward(m *machine) {
	m.see.Lock()
	defer m.see.Unlock()
	inst, ok := m.inst.(hypervisor.Carded)
	if a.cfg.Fabric == nil || !ok || len(m.rec.Instance.NICs) == 0 {
		return
	}
	taps, err := inst.TAPs()
	if err != nil {
		a.cfg.Log.Warn("frames for a guest that has left are lost: its clients send them again", "machine", m.name, "error", err)
		return
	}
	for n, c := range m.rec.Instance.NICs {
		ctx, cancel := context.WithTimeout(m.life, forwardFor)
		a.tasks.wait.Go(func() {
			defer cancel()
			if err := a.cfg.Fabric.Forward(ctx, c.Network.VNI, c.MAC, taps[n]); err != nil && ctx.Err() == nil {
				a.cfg.Log.Warn("frames for a guest that has left are lost: its clients send them again", "machine", m.name, "error", err)
			}
		})
	}
}

// announce tells the network that the machine's addresses are here now.
func (a *Agent) announce(ctx context.Context, m *machine) {
	if a.cfg.Fabric == nil {
		return
	}
	for _, c := range m.rec.Instance.NICs {
		if err := a.cfg.Fabric.Announce(ctx, c.Network.VNI, c.MAC, c.Address.Addr()); err != nil {
			a.cfg.Log.Warn("announcement failed: the network learns from the guest's next packet", "machine", m.name, "error", err)
		}
	}
}
