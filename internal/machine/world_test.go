package machine

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// startStore starts a bus without clients from outside, for as long as the test
// runs.
func startStore(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// newFleet makes tables of their own, in memory: many worlds share one bus.
func newFleet(t *testing.T, js jetstream.JetStream) *fleet.Fleet {
	t.Helper()
	s := &store.Stores{}
	for _, kv := range []*jetstream.KeyValue{&s.Objects, &s.Observed, &s.Jobs} {
		var err error
		*kv, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
			Bucket: rand.Text(), Storage: jetstream.MemoryStorage, LimitMarkerTTL: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return fleetOf(s)
}

func fleetOf(s *store.Stores) *fleet.Fleet {
	return &fleet.Fleet{
		Stores:   s,
		Hosts:    store.NewTable[droveway.Host](s.Objects, "host"),
		Machines: store.NewTable[droveway.Machine](s.Objects, "machine"),
		Images:   store.NewTable[droveway.Image](s.Objects, "image"),
		Networks: store.NewTable[droveway.Network](s.Objects, "network"),
	}
}

// fill puts a ready host, an image and the default network into a fleet.
func fill(t *testing.T, f *fleet.Fleet, hosts ...string) {
	t.Helper()
	ctx := t.Context()
	for i, name := range hosts {
		h := droveway.Host{Meta: droveway.Meta{Name: name}, Status: droveway.HostStatus{
			State: droveway.HostReady, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}).String(),
			CPUs: 4, MemoryMiB: 4096, DiskFreeMiB: 100 << 10, Capabilities: map[string]string{"accelerator": "tcg"},
		}}
		must(t, f.Hosts.Create(ctx, name, h))
	}
	must(t, f.Images.Create(ctx, "tiny", droveway.Image{
		Meta: droveway.Meta{Name: "tiny"}, Format: droveway.QCOW2, Size: 20<<20 + 1, Bytes: 5 << 20, SHA256: "abc", State: droveway.ImageReady,
	}))
	must(t, f.Images.Create(ctx, "modern", droveway.Image{Meta: droveway.Meta{Name: "modern"}, Size: 1 << 20, State: droveway.ImageReady, Firmware: droveway.UEFI}))
	must(t, f.Images.Create(ctx, "late", droveway.Image{Meta: droveway.Meta{Name: "late"}, State: droveway.ImageFetching}))
	must(t, ensureDefaultNetwork(ctx, f))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// web is a machine as a person writes it.
func web(running bool) droveway.Machine {
	return droveway.Machine{
		Meta: droveway.Meta{Name: "web"},
		Spec: droveway.MachineSpec{CPUs: 1, MemoryMiB: 128, Running: running, Disks: []droveway.Disk{
			{Name: "root", Image: "tiny", Format: droveway.QCOW2}, {Name: "data", SizeMiB: 64, Format: droveway.Raw},
		}},
	}
}

func get(t *testing.T, f *fleet.Fleet, name string) droveway.Machine {
	t.Helper()
	m, _, err := f.Machines.Get(t.Context(), name)
	must(t, err)
	return m
}

// fakeHosts is hosts in memory that answer commands as the agent does: they may
// be repeated, and an older token is refused.
type fakeHosts struct {
	mu       sync.Mutex
	machines map[string]map[string]*fakeMachine // by host, then by machine
	networks map[string][]host.Networks         // what each host was told
	starts   int
	shows    int
	refuses  string                                     // the disk that does not grow
	lacking  int                                        // how often a disk with an origin is found lacking yet
	paused   string                                     // why nothing comes; empty: it does
	rates    []int64                                    // orders for the rate of a copy
	fail     func(host, verb string) error              // nil: nothing fails
	report   func(ctx context.Context, o host.Observed) // called for each change; nil: none
}

type fakeMachine struct {
	instance host.Instance
	role     host.Role
	state    hypervisor.State
}

func newFakeHosts() *fakeHosts {
	return &fakeHosts{machines: map[string]map[string]*fakeMachine{}, networks: map[string][]host.Networks{}}
}

// Call implements host.Caller.
func (f *fakeHosts) Call(ctx context.Context, name, verb string, in, out any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(name, verb); err != nil {
			return err
		}
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	value, err := f.carryOut(ctx, name, verb, b)
	if err != nil {
		return err
	}
	if b, err = json.Marshal(map[string]any{"value": value}); err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (f *fakeHosts) carryOut(ctx context.Context, name, verb string, in []byte) (any, error) {
	var order struct {
		host.Instance
		host.Networks
	}
	if err := json.Unmarshal(in, &order.Instance); err != nil {
		return nil, err
	}
	if verb == "networks" {
		err := json.Unmarshal(in, &order.Networks)
		f.networks[name] = append(f.networks[name], order.Networks)
		return struct{}{}, err
	}
	m := f.machine(name, order.Machine)
	if verb == "show" {
		f.shows++
		return f.observe(name, m), nil
	}
	if verb == "move.hydration" {
		return f.hydration(m), nil
	}
	if order.Token < m.instance.Token {
		return nil, droveway.Errorf(droveway.Conflict, "token %d is older than %d", order.Token, m.instance.Token)
	}
	if err := f.change(verb, m, order.Instance); err != nil {
		return nil, err
	}
	o := f.observe(name, m)
	if f.report != nil {
		f.report(ctx, o)
	}
	if verb == "resize" {
		return m.resized(f.refuses), nil
	}
	return o, nil
}

// hydration tells how far the disks are that are filled: each question brings them
// further.
func (f *fakeHosts) hydration(m *fakeMachine) (h host.Hydration) {
	h.Instance = m.state
	for _, d := range m.instance.Disks {
		h.Total += d.Size
		if d.Origin == nil {
			h.Done += d.Size
			continue
		}
		if f.lacking > 0 || f.paused != "" {
			h.Lacks = append(h.Lacks, d.Name)
		}
	}
	h.Paused, h.Error = f.paused != "", f.paused
	f.lacking--
	return h
}

func (m *fakeMachine) resized(refuses string) (r host.Resized) {
	for _, d := range m.instance.Disks {
		r.Disks = append(r.Disks, host.DiskSize{Name: d.Name, Size: d.Size})
		if d.Name == refuses {
			r.Refused = "disk " + d.Name + " is made to refuse"
		}
	}
	return r
}

// grow makes disks larger, but for the one that refuses.
func (m *fakeMachine) grow(disks []host.Disk, refuses string) {
	m.instance.Disks = slices.Clone(m.instance.Disks)
	for _, want := range disks {
		for n := range m.instance.Disks {
			if d := &m.instance.Disks[n]; d.Name == want.Name && d.Name != refuses {
				d.Size = want.Size
			}
		}
	}
}

func (f *fakeHosts) change(verb string, m *fakeMachine, i host.Instance) error {
	there := m.role == host.RoleIdle || m.role == host.RoleHome
	switch {
	case verb == "create" && m.role == host.RoleNone:
		m.instance, m.role = i, host.RoleIdle
	case verb == "create" && there:
	case verb == "start" && there && m.state == hypervisor.Gone:
		f.starts++
		m.instance, m.role, m.state = i, host.RoleHome, hypervisor.Running
	case verb == "start" && there:
	case verb == "probe" && m.role == host.RoleHome:
	case verb == "move.rate" && m.role == host.RoleHome:
		f.rates = append(f.rates, 0)
	case verb == "resize" && there:
		m.grow(i.Disks, f.refuses)
	case verb == "stop" && there:
		m.role, m.state = host.RoleIdle, hypervisor.Gone
	case verb == "remove":
		*m = fakeMachine{instance: host.Instance{Machine: m.instance.Machine}, role: host.RoleNone, state: hypervisor.Gone}
	default:
		return droveway.Errorf(droveway.Conflict, "%s: machine is %s", verb, m.role)
	}
	return nil
}

func (f *fakeHosts) machine(on, name string) *fakeMachine {
	if f.machines[on] == nil {
		f.machines[on] = map[string]*fakeMachine{}
	}
	m := f.machines[on][name]
	if m == nil {
		m = &fakeMachine{instance: host.Instance{Machine: name}, role: host.RoleNone, state: hypervisor.Gone}
		f.machines[on][name] = m
	}
	return m
}

func (f *fakeHosts) observe(on string, m *fakeMachine) host.Observed {
	return host.Observed{Machine: m.instance.Machine, Host: on, Role: m.role, Token: m.instance.Token, Instance: m.state, At: time.Now()}
}

// see is what a host has of a machine.
func (f *fakeHosts) see(on, name string) fakeMachine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.machine(on, name)
}

// kill ends a guest behind everybody's back, as the host reports.
func (f *fakeHosts) kill(ctx context.Context, on, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machine(on, name)
	m.role, m.state = host.RoleIdle, hypervisor.Gone
	f.report(ctx, f.observe(on, m))
}

func (f *fakeHosts) count() (starts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts
}

// asked is how often a machine was asked for.
func (f *fakeHosts) asked() (shows int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shows
}

// lose makes a host forget all it has of a machine.
func (f *fakeHosts) lose(on, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.machines[on], name)
}

func (f *fakeHosts) told(on string) []host.Networks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.networks[on]
}

// setFail makes commands fail from now on.
func (f *fakeHosts) setFail(fail func(host, verb string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// fakeOrigins are origins in memory.
type fakeOrigins struct {
	mu      sync.Mutex
	all     map[string]*droveway.Origin
	differs bool // no checksum is right
}

func newFakeOrigins(ids ...string) *fakeOrigins {
	f := &fakeOrigins{all: map[string]*droveway.Origin{}}
	for _, id := range ids {
		f.all[id] = &droveway.Origin{Name: id, Size: 20<<20 + 1, Source: droveway.ImageSource{Location: "https://example.org/" + id}, Ordered: "abc"}
	}
	return f
}

func (f *fakeOrigins) Get(id string) (droveway.Origin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.all[id]; o != nil {
		return *o, nil
	}
	return droveway.Origin{}, droveway.Errorf(droveway.NotFound, "no origin %s", id)
}

func (f *fakeOrigins) Verify(ctx context.Context, id string, progress func(done, total int64)) error {
	for {
		o, err := f.Get(id)
		if err != nil {
			return err
		}
		if o.Waits == "" {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	progress(1, 1)
	if f.differs {
		return droveway.Errorf(droveway.Invalid, "the source has SHA-256 def, not abc as ordered")
	}
	return nil
}

func (f *fakeOrigins) Remove(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, id)
	return nil
}

func (f *fakeOrigins) wait(id, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[id].Waits = why
}

func (f *fakeOrigins) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

func newController(f *fleet.Fleet, h *fakeHosts) *Controller {
	return New(Config{Fleet: f, Hosts: host.NewClient(h), Log: slog.New(slog.DiscardHandler)})
}
