package host

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// machine is a host's entry of a machine. Commands hold mu for as long as they
// take; what others need meanwhile is under see.
type machine struct {
	name string
	mu   sync.Mutex // held by the command that runs
	rec  record     // under mu; copied to seen by save

	see   sync.Mutex
	inst  hypervisor.Instance  // nil: none
	sec   hypervisor.Secondary // nil: none
	open  bool                 // sec has the disks open
	life  context.Context      // of inst as this agent's
	watch context.CancelFunc   // ends it
	guard context.CancelFunc   // ends the guard of sec
	seen  record               // the record as it was last saved
	still *still               // a guest that is held still
	doubt error                // why nobody knows what of the machine runs; nil: it is known
	since time.Time            // of the doubt
}

// trouble is why the machine is not adopted yet; nil if it is.
func (m *machine) trouble() error {
	m.see.Lock()
	defer m.see.Unlock()
	return m.doubt
}

func (m *machine) setTrouble(err error) {
	m.see.Lock()
	defer m.see.Unlock()
	if m.doubt == nil {
		m.since = time.Now().UTC()
	}
	m.doubt = err
}

// held tells, if the machine is not adopted yet, why and since when.
func (m *machine) held() (h droveway.HeldMachine, ok bool) {
	m.see.Lock()
	defer m.see.Unlock()
	if m.doubt == nil {
		return h, false
	}
	return droveway.HeldMachine{Machine: m.name, Since: m.since, Message: m.doubt.Error()}, true
}

// setRecord takes over what is on the disk.
func (m *machine) setRecord(r record) {
	m.see.Lock()
	defer m.see.Unlock()
	m.rec, m.seen = r, r
}

func newMachine(name string) *machine {
	return &machine{name: name, rec: record{Instance: Instance{Machine: name}, Role: RoleNone}}
}

func (m *machine) instance() hypervisor.Instance {
	m.see.Lock()
	defer m.see.Unlock()
	return m.inst
}

func (m *machine) serving() hypervisor.Secondary {
	m.see.Lock()
	defer m.see.Unlock()
	return m.sec
}

func (m *machine) record() record {
	m.see.Lock()
	defer m.see.Unlock()
	return m.seen
}

func (m *machine) setSecondary(s hypervisor.Secondary, ok bool) {
	m.see.Lock()
	defer m.see.Unlock()
	m.open = false
	if m.sec = nil; ok {
		m.sec = s
	}
}

// opened notes that the secondary has the disks open.
func (m *machine) opened() {
	m.see.Lock()
	defer m.see.Unlock()
	m.open = true
}

// serves reports whether the disks are served.
func (m *machine) serves(ctx context.Context) bool {
	m.see.Lock()
	sec, open := m.sec, m.open
	m.see.Unlock()
	return open && sec != nil && sec.Alive(ctx)
}

func (m *machine) letGo() {
	m.see.Lock()
	defer m.see.Unlock()
	if m.watch != nil {
		m.watch()
	}
	if m.guard != nil {
		m.guard()
	}
	if m.inst != nil {
		_ = m.inst.Close()
	}
	if m.sec != nil {
		_ = m.sec.Close()
	}
}

// save makes the record durable; edit changes it first. A change that cannot be
// kept, for want of room perhaps, is not made: what the host does must follow from
// what the next process will find.
func (a *Agent) save(m *machine, edit func(*record)) error {
	next := m.rec
	edit(&next)
	if err := a.records.save(&next); err != nil {
		return err
	}
	m.rec = next
	m.see.Lock()
	defer m.see.Unlock()
	m.seen = m.rec
	return nil
}

// state asks the instance; Gone if there is none.
func (m *machine) state(ctx context.Context) (hypervisor.State, error) {
	if err := m.trouble(); err != nil {
		return "", err
	}
	inst := m.instance()
	if inst == nil {
		return hypervisor.Gone, nil
	}
	return inst.State(ctx)
}

// mover is the machine's instance as one that can move.
func (m *machine) mover() (hypervisor.Mover, error) {
	if err := m.trouble(); err != nil {
		return nil, err
	}
	inst := m.instance()
	if inst == nil {
		return nil, noInstance(m.name)
	}
	mv, ok := inst.(hypervisor.Mover)
	if !ok {
		return nil, droveway.Missing("move", "machine %s: its driver cannot move running machines", m.name)
	}
	return mv, nil
}

func noInstance(machine string) error {
	return droveway.Errorf(droveway.Conflict, "machine %s does not run here: %w", machine, errNoInstance)
}

// must refuses a command in a role that it is not for.
func (m *machine) must(verb string, roles ...Role) error { return m.rec.must(verb, roles...) }

// hold makes inst the instance of the machine and watches it.
func (a *Agent) hold(m *machine, inst hypervisor.Instance) {
	ctx, cancel := context.WithCancel(a.tasks.ctx)
	m.see.Lock()
	m.inst, m.life, m.watch, m.seen = inst, ctx, cancel, m.rec
	m.see.Unlock()
	a.tasks.wait.Go(func() { a.watchInstance(ctx, m, inst) })
}

// drop forgets the instance, which is gone.
func (m *machine) drop() {
	m.see.Lock()
	defer m.see.Unlock()
	if m.watch != nil {
		m.watch()
	}
	if m.inst != nil {
		_ = m.inst.Close()
	}
	m.inst, m.life, m.watch = nil, nil, nil
}

// kill ends the instance at once, if there is one.
func (m *machine) kill(ctx context.Context) error {
	inst := m.instance()
	if inst == nil {
		return nil
	}
	if err := inst.Stop(ctx, 0); err != nil {
		return fmt.Errorf("stop instance of machine %s: %w", m.name, err)
	}
	m.drop()
	return nil
}

// stateMax is how long an instance has to say how it is. One that says nothing must not
// keep the server from hearing of the others.
const stateMax = 3 * time.Second

// stateOf asks an instance that may not answer.
func stateOf(ctx context.Context, inst hypervisor.Instance) (hypervisor.State, error) {
	ctx, cancel := context.WithTimeout(ctx, stateMax)
	defer cancel()
	s, err := inst.State(ctx)
	if err != nil && ctx.Err() != nil {
		err = droveway.Errorf(droveway.Unavailable, "its hypervisor does not answer: nobody knows whether it runs: %w", err)
	}
	return s, err
}

// observe is what the host sees of the machine now. An instance that does not answer
// has no state.
func (a *Agent) observe(ctx context.Context, m *machine) Observed {
	rec, inst := m.record(), m.instance()
	o := a.nothing(m.name)
	if o.Token = rec.Instance.Token; rec.Role != "" {
		o.Role = rec.Role
	}
	o.Vars = a.varsBytes(&rec.Instance)
	if err := m.trouble(); err != nil {
		if o.Instance, o.Message, o.Held = "", err.Error(), true; o.Role == RoleNone {
			o.Role = RoleUnknown
		}
		return o
	}
	if inst == nil {
		o.Role = rec.left(o.Role)
		return o
	}
	o.PID, o.Console = inst.PID(), inst.Console()
	s, err := stateOf(ctx, inst)
	if err != nil {
		o.Message = err.Error()
	}
	if o.Instance = s; s == hypervisor.Gone {
		o.PID, o.Role = 0, rec.left(o.Role)
	}
	return o
}

// nothing is what the host sees of a machine that it has nothing of.
func (a *Agent) nothing(machine string) Observed {
	return Observed{Machine: machine, Host: a.cfg.Name, Role: RoleNone, Instance: hypervisor.Gone, At: time.Now()}
}

func (a *Agent) instanceDir(i *Instance) string {
	return filepath.Join(a.cfg.Dir, "instances", fmt.Sprintf("%s.%d", i.Machine, i.Token))
}

func (a *Agent) secondaryDir(machine string) string {
	return filepath.Join(a.cfg.Dir, "instances", machine+".secondary")
}

func (a *Agent) tls() *hypervisor.TLS {
	if a.cfg.TLSDir == "" {
		return nil
	}
	return &hypervisor.TLS{Dir: a.cfg.TLSDir}
}
