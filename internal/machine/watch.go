package machine

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

// startGrace is how long after its start the server takes a host that it had
// known as ready for alive: all leases may have run out while there was no
// server to renew them at, and the hosts need a moment to come back.
const startGrace = 10 * time.Second

// leases is where hosts keep their leases, each under its name.
const leases = "host"

// seen is what the watches have told.
type seen struct {
	mu    sync.Mutex
	until time.Time         // a host that is not alive is not believed to be silent before
	alive map[string]bool   // hosts whose lease lasts
	on    map[string]string // the host of each machine
}

func (s *seen) begin(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(grace)
}

// lives reports whether a host's lease lasts, and how long the answer "no" is
// not to be believed yet.
func (s *seen) lives(host string, now time.Time) (alive bool, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive[host], max(0, s.until.Sub(now))
}

// setAlive keeps whether a host lives and reports whether that is news.
func (s *seen) setAlive(host string, alive bool) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = s.alive[host] != alive
	s.alive[host] = alive
	return changed
}

func (s *seen) put(machine, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if host == "" {
		delete(s.on, machine)
		return
	}
	s.on[machine] = host
}

func (s *seen) machinesOn(host string) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m, h := range s.on {
		if h == host {
			names = append(names, m)
		}
	}
	return names
}

func (c *Controller) watchMachines(ctx context.Context) error {
	return c.cfg.Fleet.Machines.Watch(ctx, func(ch store.Change[droveway.Machine]) error {
		if ch.Synced {
			return nil
		}
		c.seen.put(ch.Name, ch.Value.Status.Host)
		c.queue.Add(keyMachine + ch.Name)
		return nil
	})
}

func (c *Controller) watchHosts(ctx context.Context) error {
	known := map[string]droveway.HostStatus{}
	return c.cfg.Fleet.Hosts.Watch(ctx, func(ch store.Change[droveway.Host]) error {
		if ch.Synced {
			return nil
		}
		c.queue.Add(keyHost + ch.Name)
		was, is := known[ch.Name], ch.Value.Status
		known[ch.Name] = is
		again := !was.Started.Equal(is.Started)
		if again {
			c.pushed.set(ch.Name, "") // it may not know what the agent before it was told
		}
		if again || was.State != is.State || was.Address != is.Address {
			c.hostChanged(ch.Name, known)
		}
		if again || is.State == droveway.HostReady && was.State != is.State || !slices.Equal(was.Held, is.Held) {
			c.cfg.Jobs.Nudge() // it may do now what it refused
		}
		return nil
	})
}

// hostChanged has everything looked at that depends on a host: its machines,
// and, since they are told of each other, all hosts' networks.
func (c *Controller) hostChanged(host string, all map[string]droveway.HostStatus) {
	for _, m := range c.seen.machinesOn(host) {
		c.queue.Add(keyMachine + m)
	}
	for h := range all {
		c.queue.Add(keyNetworks + h)
	}
}

func (c *Controller) watchNetworks(ctx context.Context) error {
	return c.cfg.Fleet.Networks.Watch(ctx, func(ch store.Change[droveway.Network]) error {
		if ch.Synced {
			return nil
		}
		hosts, err := c.cfg.Fleet.Hosts.List(ctx)
		for _, h := range hosts {
			c.queue.Add(keyNetworks + h.Name)
		}
		return err
	})
}

// watchReports learns from the key alone what is to be looked at: the value is
// read when its turn comes, so that many reports of one machine are one look.
func (c *Controller) watchReports(ctx context.Context) error {
	w, err := c.cfg.Fleet.Stores.Observed.WatchAll(ctx, jetstream.MetaOnly())
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "watch what the hosts report: %w", err)
	}
	defer drain(w)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, ok := <-w.Updates():
			if !ok {
				return droveway.Errorf(droveway.Unavailable, "watch what the hosts report: the connection to the bus was closed")
			}
			if e != nil {
				c.reported(e.Key())
			}
		}
	}
}

// drain ends a watch. What is under way is read and dropped: the connection's
// goroutine would wait for a reader for ever.
func drain(w jetstream.KeyWatcher) {
	_ = w.Stop() // fails only if the watch has ended already
	go func() {
		for range w.Updates() { // nothing to do with them
		}
	}()
}

// reported has the object looked at that a report is about: <host>.host or
// <host>.machine.<machine>.
func (c *Controller) reported(key string) {
	host, rest, _ := strings.Cut(key, ".")
	what, machine, _ := strings.Cut(rest, ".")
	if what == "machine" {
		c.queue.Add(keyMachine + machine)
		return
	}
	c.queue.Add(keyHost + host)
}

func (c *Controller) watchLeases(ctx context.Context) error {
	return c.cfg.Leases.Watch(ctx, leases, func(key, _ string, held bool) error {
		host := strings.TrimPrefix(key, leases+".")
		if c.seen.setAlive(host, held) {
			c.queue.Add(keyHost + host)
		}
		return nil
	})
}
