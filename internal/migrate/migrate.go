// Package migrate moves running machines between hosts: switch first, sync
// after.
//
// A move is a job of the server that commands the two hosts. The guest's memory
// goes first; then the guest runs on the target, while its disks are still on
// the source, are read from there, copied in the background and kept current by
// every write; when both copies are proved equal, the source's are removed. The
// method is that of post-data-synchronization migration (US10230785,
// US10771534).
//
//	reserve ─▶ prepare ─▶ memory ─▶ switchover ─▶ hydrate ─▶ prove ─▶ release
//	   └──────────┴──────────┘          ║             │
//	  called off: the guest             ║     called off: the memory goes back
//	  goes on at the source             ║     target lost: boots from the
//	                          point of no return    source's current disks
//
// It may touch machines through host.Client and the fleet's tables, and nothing
// else.
package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/machine"
	"github.com/droveway/droveway/internal/place"
)

// Kind is the kind of the job.
const Kind = "machine-move"

// Config is what moves need.
type Config struct {
	Fleet  *fleet.Fleet
	Hosts  *host.Client
	Jobs   *job.Manager
	Events droveway.Publisher
	Log    *slog.Logger
}

// Moves moves machines.
type Moves struct {
	cfg     Config
	placing sync.Mutex    // held from the choice of a host until the room there is reserved
	giveUp  time.Duration // giveUpAfter; tests have less of it
	silent  time.Duration // silentMax; likewise
	stand   time.Duration // standMax; likewise
}

// New makes it.
func New(cfg Config) *Moves {
	return &Moves{cfg: cfg, giveUp: giveUpAfter, silent: silentMax, stand: standMax}
}

// Request is a move that somebody wants.
type Request struct {
	Machine string `json:"machine"`
	To      string `json:"to,omitempty"`   // empty: the fleet chooses
	Rate    int64  `json:"rate,omitempty"` // of the copy, bytes a second; 0: no limit
	// Instant lets the guest switch over before its memory has been sent.
	Instant bool   `json:"instant,omitempty"`
	Reads   string `json:"reads,omitempty"`  // where from during hydration, as hypervisor.Reads
	Memory  string `json:"memory,omitempty"` // auto (or empty), single, parallel or compressed
}

// Plan is what a move would do.
type Plan struct {
	Machine  string            `json:"machine"`
	From     string            `json:"from"`
	To       string            `json:"to"`
	MemoryMB int64             `json:"memory_mib"`     // goes before the switchover
	DiskMB   int64             `json:"disk_mib"`       // follows after it
	Risk     string            `json:"risk,omitempty"` // what is at stake meanwhile, beyond the disks
	WhyNot   map[string]string `json:"why_not,omitempty"`
	Steps    []string          `json:"steps"`
}

// Result is what a move found out.
type Result struct {
	From             string  `json:"from"`
	To               string  `json:"to"`
	RequestToRunning int64   `json:"request_to_running_ms"`
	QEMUDowntime     int64   `json:"qemu_downtime_ms"` // the hypervisor's own figure
	Memory           *Memory `json:"memory,omitempty"` // nil: none was sent
	SyncMS           int64   `json:"sync_ms"`
	SyncBytes        int64   `json:"sync_bytes"`
	Equal            bool    `json:"equal"`
	Live             string  `json:"live"` // the host whose copy is the machine
	Why              string  `json:"why"`  // how that is known

	// Of a restart:
	Mode      Mode      `json:"mode,omitempty"`
	Downtime  int64     `json:"downtime_ms,omitempty"` // from the end of the guest until its sign of life
	Confirmed time.Time `json:"confirmed,omitzero"`
}

// Plan checks a move and says what it would do.
func (m *Moves) Plan(ctx context.Context, r Request) (Plan, error) {
	if err := r.valid(); err != nil {
		return Plan{}, err
	}
	mc, _, err := m.cfg.Fleet.Machines.Get(ctx, r.Machine)
	if err != nil {
		return Plan{}, err
	}
	to, whyNot, err := m.target(ctx, &mc, r.To, true, r.requires()...)
	if err != nil {
		return Plan{}, err
	}
	if err := movable(&mc); err != nil {
		return Plan{}, err
	}
	p := Plan{Machine: mc.Name, From: mc.Status.Host, To: to, MemoryMB: mc.Spec.MemoryMiB, WhyNot: whyNot}
	if r.Instant {
		p.Risk = risk(mc.Name, p.From, p.To)
	}
	for _, d := range mc.Spec.Disks {
		p.DiskMB += d.SizeMiB
	}
	for _, s := range m.steps(r) {
		p.Steps = append(p.Steps, s.Name)
	}
	return p, nil
}

// movable refuses a machine that cannot move now.
func movable(mc *droveway.Machine) error {
	switch {
	case mc.Status.Job != "":
		return droveway.Errorf(droveway.Conflict, "machine %s is held by job %s: wait for it, or cancel it", mc.Name, mc.Status.Job)
	case mc.Status.State != droveway.MachineRunning:
		return droveway.Errorf(droveway.Conflict, "machine %s is %s: only a running machine moves live; start it first", mc.Name, mc.Status.State)
	}
	return machine.MustBeWhole(mc)
}

// valid refuses what makes no sense as it stands.
func (r Request) valid() error {
	if r.Instant && severalOf(r.Memory) != "" {
		return droveway.Errorf(droveway.Invalid, "move machine %s: of memory that goes over several connections nothing can follow: give --instant or --memory %s", r.Machine, r.Memory)
	}
	return validRate(r.Rate)
}

// requires are the capabilities that a move needs of its target.
func (r Request) requires() (all []string) {
	if hypervisor.Reads(r.Reads) == hypervisor.ReadLocal {
		all = append(all, hypervisor.ReadLocalCapability+"=yes")
	}
	if c := severalOf(r.Memory); c != "" {
		all = append(all, c+"=yes")
	}
	return all
}

// target finds the host to move to, or checks the one that was named. A guest that
// goes on living needs there what it has seen here.
func (m *Moves) target(ctx context.Context, mc *droveway.Machine, to string, lives bool, requires ...string) (string, map[string]string, error) {
	if to != "" && to == mc.Status.Host {
		return "", nil, droveway.Errorf(droveway.Invalid, "machine %s is on host %s already: name another host", mc.Name, to)
	}
	hosts, err := m.cfg.Fleet.Hosts.List(ctx)
	if err != nil {
		return "", nil, err
	}
	need, err := machine.Need(ctx, m.cfg.Fleet, mc)
	if err != nil {
		return "", nil, err
	}
	need.Host, need.Not = to, []string{mc.Status.Host}
	if at := slices.IndexFunc(hosts, func(h droveway.Host) bool { return h.Name == mc.Status.Host }); lives && at >= 0 {
		need.Alike(hosts[at], mc.Spec.CPU)
	}
	need.Requires = append(slices.Clone(need.Requires), requires...)
	return place.Choose(hosts, need)
}

// Start submits a move. The same request identifier gives the same job.
func (m *Moves) Start(ctx context.Context, r Request, requestID string) (droveway.Job, error) {
	opts := job.SubmitOptions{RequestID: requestID}
	if j, ok, err := m.cfg.Jobs.Find(ctx, Kind, "machine/"+r.Machine, requestID); err != nil || ok {
		return j, err
	}
	if _, err := m.Plan(ctx, r); err != nil {
		return droveway.Job{}, err
	}
	return m.cfg.Jobs.Submit(ctx, Kind, "machine/"+r.Machine, r, opts)
}

// Kinds is the kinds of job that this package runs.
func (m *Moves) Kinds() []job.Kind {
	return []job.Kind{job.Define(Kind, m.define), job.Define(RestartKind, m.defineRestart)}
}

// state is what the steps of a move hand on; it survives a kill of the server.
type state struct {
	Source   host.Instance `json:"source"`
	Target   host.Instance `json:"target"`
	From     string        `json:"from"`
	To       string        `json:"to"`
	Postcopy bool          `json:"postcopy"` // the memory may follow
	Memory   string        `json:"memory"`   // where the target waits for memory
	Disks    string        `json:"disks"`    // where the source serves its disks
	Rate     int64         `json:"rate"`     // of the copy, as the target was told last
	Begun    int64         `json:"begun"`    // Unix ms of the request
	Away     int64         `json:"away"`     // Unix ms at which a restart began to end the guest
	Hurried  int64         `json:"hurried"`  // Unix ms at which the source was told to let memory follow; 0: never
	Switched int64         `json:"switched"` // Unix ms at which the guest ran on the target
	Waits    machine.Waits `json:"waits,omitzero"`
	BackAt   uint64        `json:"back_at"` // token of the instance that came back to the source
	// BackFails is since when the memory does not get back, Unix ms; 0: no attempt failed.
	BackFails int64  `json:"back_fails,omitempty"`
	Result    Result `json:"result"`

	Reads hypervisor.Reads `json:"reads,omitempty"`

	Way hypervisor.Way `json:"way,omitempty"` // how the target waits for memory
	// Endless: passes over the memory did not end in a way in which it cannot follow.
	Endless bool `json:"endless,omitempty"`
	// Stood is how often memory stood still. Anew: both sides are to be prepared anew.
	Stood int  `json:"stood,omitempty"`
	Anew  bool `json:"anew,omitempty"`

	// waiting: this process has just seen the guest held for the handover, and heard
	// from the target. It stands meanwhile, so nobody is asked what is known.
	waiting bool

	// vars are the firmware's variables that a guest which boots is to find.
	vars host.Vars
}

func (s *state) source() host.Ref { return host.Ref{Machine: s.Source.Machine, Token: s.Source.Token} }
func (s *state) target() host.Ref { return host.Ref{Machine: s.Target.Machine, Token: s.Target.Token} }

// run is one attempt at a move, as its steps see it.
type run = job.Run[state]

// live says which side is the machine, and why, in the job.
func live(r *run, host, why string, args ...any) {
	r.State.Result.Live, r.State.Result.Why = host, fmt.Sprintf(why, args...)
	r.Result(r.State.Result)
}

// gone reports whether an answer of a host says that its instance is no more.
func gone(o host.Observed) bool { return o.Instance == hypervisor.Gone }
