package appliance

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/repair"
)

// Config says what appliances are made of.
type Config struct {
	Kernel string        // directory with boot/vmlinuz-* and lib/modules/*; empty: /
	Init   string        // the first process, a static binary whose main calls inside.Main; empty: this program
	QEMU   string        // program; empty: qemu-system-x86_64
	Accel  string        // kvm or tcg; empty: the best one that works
	NTFS   string        // program that mounts NTFS, with its libraries where this host has them; empty: ntfs-3g
	User   string        // unprivileged user to run QEMU as; empty: that of this process
	Limit  time.Duration // of one repair; 0: 20 minutes
	Log    *slog.Logger  // may be nil
}

// Appliance repairs images.
type Appliance struct{ cfg Config }

// New makes an appliance. It starts nothing.
func New(cfg Config) *Appliance { return &Appliance{cfg} }

// Request is one repair.
type Request struct {
	Image   string            // path of a raw or qcow2 file, which is only read
	Overlay string            // path of the qcow2 file to create on top of it
	Plan    *repair.Plan      // what to do
	Report  *inspect.Report   // what the plan was made from
	MACs    []string          // of the machine's cards as far as they are known, the first one first
	Keys    []luks.Key        // for encrypted volumes: in memory alone, here and in the appliance
	Drivers *repair.VirtioWin // what a plan for a Windows takes drivers from; must stay open
	Full    bool              // run the guest's own programs even where writing files is enough

	// Progress, unless it is nil, is told the step that begins, how many are done,
	// and how many there are. It is called by one goroutine at a time.
	Progress func(step string, done, total int)
}

// Change is a file that a repair has made or changed.
type Change = wire.Change

// Result is what was done.
type Result struct {
	Changes []Change
	Log     string // what the guest's programs said, the end of it
}

// Repair creates the overlay and carries out the plan on it. When it fails, there is
// no overlay, and the error says at which step and what was said there: Unsupported
// if this host or this image is not fit for it, Permission if no key opens what is
// encrypted, Unavailable if the appliance could not be started, ctx ended or it took
// too long (ErrTooLong), Invalid if the guest is to blame, Internal if the appliance
// failed.
func (a *Appliance) Repair(ctx context.Context, r Request) (*Result, error) {
	result, err := a.repair(ctx, r)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "repair the image: %w", err)
	}
	return result, nil
}

func (a *Appliance) repair(ctx context.Context, r Request) (result *Result, err error) {
	image, err := format.Open(r.Image) // refuses what leads to other files
	if err != nil {
		return nil, err
	}
	defer image.Close()
	order, notes, err := orderFor(ctx, r, image)
	if err != nil {
		return nil, err
	}
	m, err := a.machine(ctx, order)
	if err != nil {
		return nil, err
	}
	defer m.close()
	if err := m.open(ctx, r, image); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(r.Overlay))
		}
	}()
	t := &transcript{request: r, total: len(order.Steps) + ownSteps, result: &Result{}}
	t.say(notes...)
	return t.follow(ctx, m)
}
