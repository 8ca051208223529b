package host

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

const (
	beatEvery = 2 * time.Second
	// LeaseTTL is how long a host counts as ready without a sign of life.
	LeaseTTL   = 6 * time.Second
	statusRest = 30 * time.Second // between reports that nothing calls for
)

// live says by the lease that the host lives, however long it takes to find out how
// its machines are.
func (a *Agent) live(ctx context.Context) {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		a.beat(ctx)
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
	}
}

// publish reports the host and its machines to the server: at each change, and
// now and then.
func (a *Agent) publish(ctx context.Context) {
	look := time.NewTicker(beatEvery)
	defer look.Stop()
	var reported time.Time
	var held []droveway.HeldMachine
	told := a.adopted()
	for {
		if now := a.held(); time.Since(reported) >= statusRest || !slices.Equal(now, held) {
			if a.put(ctx, "host", a.status(now)) {
				reported, held = time.Now(), now
			}
			a.publishMachines(ctx, told)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.report:
			a.publishMachines(ctx, told)
		case <-look.C:
		}
	}
}

// adopted is the machines that the server may have heard of from an earlier
// process.
func (a *Agent) adopted() map[string]bool {
	told := map[string]bool{}
	for _, m := range a.all() {
		told[m.name] = true
	}
	return told
}

// publishMachines tells the server what is here; and of each machine that it was
// told of and that is here no more, that nothing of it is here.
func (a *Agent) publishMachines(ctx context.Context, told map[string]bool) {
	gone := maps.Clone(told)
	for _, o := range a.observeAll(ctx) {
		if o.Role != RoleNone {
			told[o.Machine] = true
			delete(gone, o.Machine)
			a.put(ctx, "machine."+o.Machine, o)
		}
	}
	for name := range gone {
		if a.put(ctx, "machine."+name, a.nothing(name)) {
			delete(told, name)
		}
	}
}

// observeAll looks at all machines at the same time: those that do not answer wait for
// nobody else's.
func (a *Agent) observeAll(ctx context.Context) []Observed {
	all := a.all()
	seen := make([]Observed, len(all))
	var wait sync.WaitGroup
	for n, m := range all {
		wait.Go(func() { seen[n] = a.observe(ctx, m) })
	}
	wait.Wait()
	return seen
}

// put writes an observed key. A host may write its own and read none, so it
// publishes to the key's subject; it is the only writer. It reports whether that
// was done; if not, the machines are published again soon.
func (a *Agent) put(ctx context.Context, key string, v any) bool {
	b, err := json.Marshal(v)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, beatEvery)
		defer cancel()
		_, err = a.cfg.Conn.JS.Publish(ctx, "$KV.observed."+a.cfg.Name+"."+key, b)
	}
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.Debug("the server hears this later", "key", key, "error", err)
		time.AfterFunc(beatEvery, a.changed)
	}
	return err == nil
}

func (a *Agent) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	_, err := a.cfg.Conn.JS.Publish(ctx, "$KV.leases.host."+a.cfg.Name, []byte(a.cfg.Name), jetstream.WithMsgTTL(LeaseTTL))
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.Debug("no sign of life could be given", "error", err)
	}
}

// held gives the machines that are not adopted yet, by name.
func (a *Agent) held() []droveway.HeldMachine {
	var all []droveway.HeldMachine
	for _, m := range a.all() {
		if h, ok := m.held(); ok {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b droveway.HeldMachine) int { return strings.Compare(a.Machine, b.Machine) })
	return all
}

func (a *Agent) status(held []droveway.HeldMachine) droveway.HostStatus {
	s := droveway.HostStatus{
		Address: a.cfg.Address.String(), CPUs: runtime.NumCPU(), MemoryMiB: memoryMiB(), Version: a.cfg.Version,
		Capabilities: maps.Clone(map[string]string(a.caps)), Started: a.started, Held: held,
	}
	if free, err := a.pool.Free(); err == nil {
		s.DiskFreeMiB = free >> 20
	}
	return s
}

// memoryMiB is the memory of the host, from proc_meminfo(5).
func memoryMiB() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib >> 10
		}
	}
	return 0
}
