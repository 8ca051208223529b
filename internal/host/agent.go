// Package host is the role that runs on every virtualization host, and the
// client through which the server commands it.
//
// The agent carries out one command of a machine at a time, through a
// hypervisor driver, and keeps on disk what it begins before it begins it: after
// a kill the next process adopts the guests and goes on. It decides nothing: what
// should run where is the server's business. It may touch its own data
// directory, the host's machine networks, and nothing else.
package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/volume"
)

// ImageSource gives the bytes of images.
type ImageSource interface {
	Open(ctx context.Context, i Image, offset int64) (io.ReadCloser, error)
}

// Fabric is the machine networks of a host.
type Fabric interface {
	Ensure(ctx context.Context, n droveway.Network, peers []netip.Addr) error
	TAP(ctx context.Context, vni uint32, name string) (*os.File, error)
	Announce(ctx context.Context, vni uint32, mac string, addr netip.Addr) error
	Forward(ctx context.Context, vni uint32, mac string, tap *os.File) error
	Probe(ctx context.Context, vni uint32, mac string, addr netip.Addr) error
}

// Config is what an agent needs.
type Config struct {
	Name    string
	Dir     string     // its data directory
	Address netip.Addr // for the traffic between hosts
	Server  string     // where the server is, a name or an address without port
	Conn    *bus.Conn
	Driver  hypervisor.Driver
	Images  ImageSource
	Fabric  Fabric       // nil: machines get no network cards, as with the driver in memory
	Peers   []netip.Addr // taking part in machine networks besides the hosts
	TLSDir  string       // certificates for the traffic between hosts; empty: in the clear
	Version string
	Log     *slog.Logger
}

// Agent is the host role.
type Agent struct {
	cfg     Config
	pool    *volume.Pool
	records records
	caps    hypervisor.Capabilities
	tasks   *tasks
	report  chan struct{} // something to be published
	started time.Time

	mu       sync.Mutex
	machines map[string]*machine
	networks Networks
}

// New opens the data directory and probes the driver.
func New(cfg Config) (*Agent, error) {
	pool, err := volume.Open(filepath.Join(cfg.Dir, "volumes"), cfg.Log)
	if err != nil {
		return nil, err
	}
	recs, err := openRecords(filepath.Join(cfg.Dir, "machines"))
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, pool: pool, records: recs, machines: map[string]*machine{}, report: make(chan struct{}, 1), started: time.Now().UTC()}
	return a, a.loadNetworks()
}

// Run adopts what runs and serves commands until ctx ends. The guests go on.
func (a *Agent) Run(ctx context.Context) error {
	caps, err := a.cfg.Driver.Probe(ctx)
	if err != nil {
		return fmt.Errorf("probe driver %s: %w", a.cfg.Driver.Name(), err)
	}
	a.caps = caps
	ctx, cancel := context.WithCancel(ctx)
	a.tasks = newTasks(ctx)
	defer func() {
		cancel()
		a.tasks.wait.Wait()
		a.letGo()
	}()
	if err := a.adopt(ctx); err != nil {
		return err
	}
	a.tasks.wait.Go(func() { a.live(ctx) })
	a.tasks.wait.Go(func() { a.publish(ctx) })
	a.tasks.wait.Go(func() { a.trimConsoles(ctx) })
	a.tasks.wait.Go(func() { a.forgetDeparted(ctx) })
	a.tasks.wait.Go(func() { a.adoptLater(ctx) })
	return a.cfg.Conn.Serve(ctx, a.cfg.Name, a.handlers())
}

func (a *Agent) letGo() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.machines {
		m.letGo()
	}
}

// machine gives the entry of a machine, new if it has none.
func (a *Agent) machine(name string) *machine {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.machines[name]
	if m == nil {
		m = newMachine(name)
		a.machines[name] = m
	}
	return m
}

// look gives the entry of a machine to one who only looks: of a machine that the host
// knows nothing of, whatever its name, it keeps none.
func (a *Agent) look(name string) *machine {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.machines[name]; m != nil {
		return m
	}
	return newMachine(name)
}

// lock gives a command the entry of a machine to itself. While it waited for the
// entry a removal may have dropped it: what the host has then is in another.
func (a *Agent) lock(name string) *machine {
	for {
		m := a.machine(name)
		m.mu.Lock()
		if a.machine(name) == m {
			return m
		}
		m.mu.Unlock()
	}
}

func (a *Agent) all() []*machine {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*machine
	for _, m := range a.machines {
		all = append(all, m)
	}
	return all
}

// forget drops the entry of a machine that the host knows nothing of any more.
func (a *Agent) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.machines, name)
}

// forgetBlank drops an entry that a command was given and left as it was, since it was
// refused or had nothing to do. The caller holds the entry.
func (a *Agent) forgetBlank(m *machine) {
	if m.rec.blank() && m.trouble() == nil && m.instance() == nil && m.serving() == nil {
		a.forget(m.name)
	}
}

func (a *Agent) restorer() hypervisor.Restorer {
	r, ok := a.cfg.Driver.(hypervisor.Restorer)
	if !ok {
		return noRestorer{a.cfg.Driver.Name()}
	}
	return r
}

// noRestorer stands in for a driver that cannot serve disks.
type noRestorer struct{ driver string }

func (n noRestorer) missing() error {
	return droveway.Missing("secondary", "driver %s cannot serve the disks of a machine that has moved: choose a host with driver qemu", n.driver)
}

func (n noRestorer) Secondary(context.Context, hypervisor.SecondarySpec) (hypervisor.Secondary, error) {
	return nil, n.missing()
}

func (n noRestorer) AttachSecondary(context.Context, hypervisor.Handle) (hypervisor.Secondary, error) {
	return nil, n.missing()
}

// handlers is every verb with what carries it out.
func (a *Agent) handlers() map[string]bus.Handler {
	return map[string]bus.Handler{
		verbNetworks:  plain(a.setNetworks),
		verbConsole:   plain(a.console),
		verbShow:      plain(a.show),
		verbSums:      plain(a.sums),
		verbAwait:     plain(a.await),
		verbHydration: plain(a.hydration),
		verbCreate:    command(a, verbCreate, a.create),
		verbStart:     command(a, verbStart, a.start),
		verbStop:      command(a, verbStop, a.stop),
		verbRemove:    command(a, verbRemove, a.remove),
		verbResize:    command(a, verbResize, a.resize),
		verbReserve:   command(a, verbReserve, a.reserve),
		verbDiscard:   command(a, verbDiscard, a.discard),
		verbSecondary: command(a, verbSecondary, a.secondary),
		verbSend:      command(a, verbSend, a.send),
		verbCancel:    command(a, verbCancel, a.cancel),
		verbHandover:  command(a, verbHandover, a.handover),
		verbTakeOver:  command(a, verbTakeOver, a.takeOver),
		verbRate:      command(a, verbRate, a.setRate),
		verbHold:      command(a, verbHold, a.holdStill),
		verbVerdict:   command(a, verbVerdict, a.verdict),
		verbRevoke:    command(a, verbRevoke, a.revoke),
		verbRelease:   command(a, verbRelease, a.release),
		verbWelcome:   command(a, verbWelcome, a.welcome),
		verbUnwelcome: command(a, verbUnwelcome, a.unwelcome),
		verbGiveBack:  command(a, verbGiveBack, a.giveBack),
		verbHome:      command(a, verbHome, a.home),
		verbLeave:     command(a, verbLeave, a.leave),
		verbProbe:     watching(a, verbProbe, a.probe),
		verbHurry:     command(a, verbHurry, a.hurry),
		verbDirty:     command(a, verbDirty, a.dirtyRate),
	}
}

// plain is a handler that needs no lock and answers soon.
func plain[In, Out any](fn func(context.Context, In) (Out, error)) bus.Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		in, err := decode[In](raw)
		if err != nil {
			return nil, err
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(out)
		return reply{Value: b}, err
	}
}

// order is the input of a command: it names its machine and its token.
type order interface{ ref() Ref }

func (r Ref) ref() Ref      { return r }
func (i Instance) ref() Ref { return Ref{i.Machine, i.Token} }

// command is a handler that changes a machine: it runs as a task, with the
// machine to itself, and only if no greater token has been seen.
func command[In order, Out any](a *Agent, verb string, fn func(context.Context, *machine, In, *task) (Out, error)) bus.Handler {
	return ordered(a, verb, func(ctx context.Context, m *machine, in In, t *task) (any, error) {
		defer m.mu.Unlock()
		defer a.forgetBlank(m)
		if err := a.admit(ctx, m, in); err != nil {
			return nil, err
		}
		defer a.changed()
		return fn(ctx, m, in, t)
	})
}

// watching is a handler that is admitted as a command is and then only looks, for as
// long as it takes: commands that come meanwhile do not wait for it.
func watching[In order, Out any](a *Agent, verb string, fn func(context.Context, *machine, In) (Out, error)) bus.Handler {
	return ordered(a, verb, func(ctx context.Context, m *machine, in In, _ *task) (any, error) {
		err := a.admit(ctx, m, in)
		a.forgetBlank(m)
		m.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return fn(ctx, m, in)
	})
}

// ordered is a handler that runs fn as a task; fn gives the machine free.
func ordered[In order](a *Agent, verb string, fn func(context.Context, *machine, In, *task) (any, error)) bus.Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		in, err := decode[In](raw)
		if err != nil {
			return nil, err
		}
		r := in.ref()
		if err := droveway.ValidName("machine", r.Machine); err != nil {
			return nil, err
		}
		if ends(verb) {
			// One that is refused below must not disturb either.
			seen := a.look(r.Machine).record()
			if err := seen.admit(r.Token, in); err != nil {
				return nil, err
			}
			a.tasks.stop(r.Machine, verb)
		}
		return a.tasks.do(ctx, taskKey{r.Machine, verb, r.Token, string(raw)}, func(ctx context.Context, t *task) (any, error) {
			return fn(ctx, a.lock(r.Machine), in, t)
		})
	}
}

// admit refuses an order that is older than what the host has seen, or for a machine of
// which nobody knows what runs. The caller holds the machine.
func (a *Agent) admit(ctx context.Context, m *machine, in order) error {
	if err := m.rec.admit(in.ref().Token, in); err != nil {
		return err
	}
	if m.trouble() != nil {
		if err := a.attach(ctx, m); err != nil {
			a.changed()
			return err
		}
		if err := m.rec.admit(in.ref().Token, in); err != nil { // the record is known only now
			return err
		}
	}
	return a.review(ctx, m)
}

// ends reports whether a verb makes the others that run pointless.
func ends(verb string) bool {
	return verb == verbRemove || verb == verbDiscard || verb == verbStop
}

func decode[In any](raw json.RawMessage) (in In, err error) {
	if err := json.Unmarshal(raw, &in); err != nil {
		return in, droveway.Errorf(droveway.Invalid, "command is not understood: %w; are server and host of the same version?", err)
	}
	return in, nil
}

func (a *Agent) changed() {
	select {
	case a.report <- struct{}{}:
	default:
	}
}

const cleanUpMax = 30 * time.Second

// cleanUp gives a context for undoing, which the end of ctx does not stop.
func cleanUp(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpMax)
}

var (
	errNoInstance = errors.New("no instance")
	errNotLooked  = errors.New("nobody has looked yet")
)
