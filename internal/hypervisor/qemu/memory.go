package qemu

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// migration is what query-migrate says (MigrationInfo in qapi/migration.json).
type migration struct {
	Status   string `json:"status"`
	Error    string `json:"error-desc"`
	Setup    int64  `json:"setup-time"` // ms
	Downtime int64  `json:"downtime"`   // ms
	RAM      struct {
		Total     int64   `json:"total"`
		Remaining int64   `json:"remaining"`
		Moved     int64   `json:"transferred"`
		Mbps      float64 `json:"mbps"` // megabits a second
		DirtyRate int64   `json:"dirty-pages-rate"`
		PageSize  int64   `json:"page-size"`
		Passes    int64   `json:"dirty-sync-count"`
	} `json:"ram"`
	Listen []struct {
		Host string `json:"host"`
		Port string `json:"port"`
	} `json:"socket-address"`
}

// heldBack is the status of a migration that waits to be continued. The guest
// stands still some milliseconds before QEMU gets there.
const heldBack = "pre-switchover"

// active reports whether memory is on its way.
func (m migration) active() bool {
	switch m.Status {
	case "setup", "active", heldBack, "device", "cancelling":
		return true
	}
	return false
}

// why is the reason for a failure.
func (m migration) why() string {
	return cmp.Or(m.Error, "the connection to the target was lost")
}

// standing is the state of a guest that a migration has stopped.
func (m migration) standing(run string) hypervisor.State {
	switch {
	case m.Status == "completed":
		return hypervisor.Sent
	case m.Status == heldBack || m.Status == "device":
		return hypervisor.Held
	case m.following():
		return hypervisor.Sent
	case run == "postmigrate":
		return hypervisor.Paused // it was paused when it was sent, and the migration was cancelled
	}
	return hypervisor.Sending
}

func (i *Instance) migration(ctx context.Context) (migration, error) {
	var m migration
	err := i.execute(ctx, "query-migrate", nil, &m)
	return m, err
}

// capability switches features of a migration on.
func (i *Instance) capabilities(ctx context.Context, names ...string) error {
	var on []object
	for _, n := range names {
		on = append(on, object{"capability": n, "state": true})
	}
	return i.execute(ctx, "migrate-set-capabilities", object{"capabilities": on}, nil)
}

// account is the user that the instance was started as.
func (i *Instance) account() (*account, error) { return lookup(i.h.User) }

// tls gives QEMU the certificate of one side and returns the id of the object,
// which is empty without TLS.
func (i *Instance) tls(ctx context.Context, e endpoint) (string, error) {
	user, err := i.account()
	if err != nil {
		return "", err
	}
	c, err := readCredentials(i.h.Spec.TLS, e, i.h.Spec.Dir, user)
	if err != nil || c == nil {
		return "", err
	}
	defer c.forget()
	return c.id, i.addObject(ctx, c.id, c.object())
}

// only restricts who may send memory and returns the id of the access list,
// which is empty if anybody of the authority may.
func (i *Instance) only(ctx context.Context, peer string) (string, error) {
	if peer == "" {
		return "", nil
	}
	id, list := onlyPeer(peer)
	return id, i.addObject(ctx, id, list)
}

// Receive listens for memory.
func (i *Instance) Receive(ctx context.Context, listen string) (string, error) {
	var address string
	err := i.exclusive(ctx, "receive memory of", func() (err error) {
		address, err = i.receive(ctx, listen)
		return err
	})
	return address, err
}

func (i *Instance) receive(ctx context.Context, listen string) (string, error) {
	if _, err := i.must(ctx, hypervisor.Incoming); err != nil {
		return "", err
	}
	m, err := i.migration(ctx)
	if err != nil {
		return "", err
	}
	if len(m.Listen) == 0 && (m.Status == "" || m.Status == "none") {
		if err := i.incoming(ctx, listen); err != nil {
			return "", err
		}
		if m, err = i.migration(ctx); err != nil {
			return "", err
		}
	}
	if len(m.Listen) == 0 {
		return "", droveway.Errorf(droveway.Conflict, "memory is arriving already")
	}
	return net.JoinHostPort(m.Listen[0].Host, m.Listen[0].Port), nil
}

// incoming opens the socket. return-path makes the source wait until the target
// has understood all that it was sent: without it the source takes bytes in a
// buffer for a completed migration.
func (i *Instance) incoming(ctx context.Context, listen string) error {
	creds, err := i.tls(ctx, server)
	if err != nil {
		return err
	}
	if _, err := i.tls(ctx, client); err != nil { // for its origins: no time for it at the switchover
		return err
	}
	authz, err := i.only(ctx, i.h.Spec.Peer)
	if err != nil {
		return err
	}
	if err := i.capabilities(ctx, "events", "late-block-activate", "return-path"); err != nil {
		return err
	}
	params := object{"tls-creds": creds}
	if authz != "" { // an empty one is the name of an object, which is not there
		params["tls-authz"] = authz
	}
	if err := i.execute(ctx, "migrate-set-parameters", params, nil); err != nil {
		return err
	}
	return i.execute(ctx, "migrate-incoming", object{"uri": "tcp:" + listen}, nil)
}

// Send begins to send memory.
func (i *Instance) Send(ctx context.Context, to, peer string, rate int64) error {
	return i.exclusive(ctx, "send memory of", func() error {
		s, err := i.must(ctx, hypervisor.Running, hypervisor.Paused, hypervisor.Sending, hypervisor.Held, hypervisor.Sent)
		if err != nil || s != hypervisor.Running && s != hypervisor.Paused {
			return err
		}
		return i.send(ctx, to, peer, rate)
	})
}

// How long QEMU may expect the last pass to take when it holds the guest, in ms: at
// first short, and longer for a guest that keeps memory from getting that far.
const (
	downtimeLimit = 30
	relaxedLimit  = 300
	shortPasses   = 3 // over memory, until it is relaxed
)

// relax lets the last pass take longer, once, if memory does not get to where a
// short one would do.
func (i *Instance) relax(ctx context.Context, m migration) error {
	if m.Status != "active" || m.RAM.Passes <= shortPasses || !i.relaxed.CompareAndSwap(false, true) {
		return nil
	}
	err := i.execute(ctx, "migrate-set-parameters", object{"downtime-limit": relaxedLimit}, nil)
	if err != nil {
		i.relaxed.Store(false) // the next look tries again
	}
	return err
}

func (i *Instance) send(ctx context.Context, to, peer string, rate int64) error {
	if err := i.mustBeWhole(ctx); err != nil {
		return err
	}
	i.relaxed.Store(false)
	creds, err := i.tls(ctx, client)
	if err != nil {
		return err
	}
	if err := i.capabilities(ctx, "events", "pause-before-switchover", "return-path", "auto-converge"); err != nil {
		return err
	}
	p := object{"max-bandwidth": rate, "downtime-limit": downtimeLimit, "tls-creds": creds, "tls-hostname": peer}
	if creds == "" {
		p["tls-hostname"] = ""
	}
	if err := i.execute(ctx, "migrate-set-parameters", p, nil); err != nil {
		return err
	}
	return i.execute(ctx, "migrate", object{"uri": "tcp:" + to}, nil)
}

// Sent tells how far Send is.
func (i *Instance) Sent(ctx context.Context) (hypervisor.MemoryProgress, error) {
	m, err := i.migration(ctx)
	if err != nil {
		return hypervisor.MemoryProgress{}, i.about("progress of", err)
	}
	if err := i.relax(ctx, m); err != nil {
		return hypervisor.MemoryProgress{}, i.about("progress of", err)
	}
	p := hypervisor.MemoryProgress{
		State: hypervisor.Running, Total: m.RAM.Total, Remaining: m.RAM.Remaining, Rate: int64(m.RAM.Mbps * 1e6 / 8),
		DirtyRate: m.RAM.DirtyRate * m.RAM.PageSize, Iterations: m.RAM.Passes, Moved: m.RAM.Moved,
		Setup: time.Duration(m.Setup) * time.Millisecond, Downtime: time.Duration(m.Downtime) * time.Millisecond,
	}
	s, err := i.state(ctx)
	switch {
	case err != nil:
		return p, i.about("progress of", err)
	case s == hypervisor.Gone:
		return p, i.about("progress of", i.gone())
	case s == hypervisor.Stuck && m.active():
		p.State = hypervisor.Sending // its memory goes on while its disk does not answer
	case s == hypervisor.Sending || s == hypervisor.Held || s == hypervisor.Sent:
		p.State, p.Follows = s, m.following()
		if m.severed() {
			p.Error = "the connection to the target was lost while memory followed"
		}
	case m.Status == "failed":
		p.Error = m.why()
	}
	return p, nil
}

// leaveWithin bounds the wait for QEMU to finish a migration either way: what is
// left by then is the state of the devices.
const leaveWithin = 60 * time.Second

// Cancel ends a Send that was not handed over.
func (i *Instance) Cancel(ctx context.Context) error {
	return i.exclusive(ctx, "cancel the move of", func() error {
		s, err := i.state(ctx)
		if err != nil {
			return err
		}
		switch s {
		case hypervisor.Gone:
			return i.gone()
		case hypervisor.Sent, hypervisor.Incoming, hypervisor.Received:
			return droveway.Errorf(droveway.Conflict, "its instance is %s", s)
		}
		// The memory of a guest that stands on an error of its disk may be on its way.
		if m, err := i.migration(ctx); err != nil || !m.active() {
			return err
		}
		return i.cancel(ctx)
	})
}

func (i *Instance) cancel(ctx context.Context) error {
	if err := i.execute(ctx, "migrate_cancel", nil, nil); err != nil {
		return err
	}
	s, err := i.left(ctx)
	if err == nil && s == hypervisor.Sent {
		return droveway.Errorf(droveway.Conflict, "it was handed over before the cancel came")
	}
	return err
}

// left waits until QEMU is out of a migration.
func (i *Instance) left(ctx context.Context) (s hypervisor.State, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	err = i.until(ctx, func() (bool, error) {
		if m, err := i.migration(ctx); err != nil || m.active() {
			return false, err
		}
		var err error
		s, err = i.state(ctx)
		return s != hypervisor.Sending && s != hypervisor.Held, err
	})
	if droveway.Is(err, droveway.NotFound) {
		return hypervisor.Gone, nil
	}
	return s, err
}

// Handover completes a held Send. The guest stands meanwhile, so it asks QEMU for no
// more than it needs.
func (i *Instance) Handover(ctx context.Context) (downtime time.Duration, err error) {
	err = i.exclusive(ctx, "hand over", func() error {
		m, err := i.migration(ctx)
		if err != nil {
			return err
		}
		if m.Status == heldBack {
			err = i.letGo(ctx)
		} else {
			_, err = i.must(ctx, hypervisor.Held, hypervisor.Sent)
		}
		if err != nil {
			return err
		}
		// Once the guest is on its way only QEMU knows how it ends.
		if m, err = i.departed(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		if m.Status != "completed" && !m.following() {
			return droveway.Errorf(droveway.Unavailable, "the target did not get the memory: %s", m.why())
		}
		downtime = time.Duration(m.Downtime) * time.Millisecond
		return nil
	})
	return downtime, err
}

// letGo ends the wait before the switchover.
func (i *Instance) letGo(ctx context.Context) error {
	if err := i.abandon(ctx); err != nil {
		return err
	}
	return i.execute(ctx, "migrate-continue", object{"state": heldBack}, nil)
}

// departed waits until QEMU has decided how a migration ends.
func (i *Instance) departed(ctx context.Context) (m migration, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	err = i.until(ctx, func() (bool, error) {
		m, err = i.migration(ctx)
		return !m.active(), err
	})
	return m, err
}
