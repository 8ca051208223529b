package appliance

import (
	"context"
	"log/slog"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/repair"
)

// Config says what appliances are made of.
type Config struct {
	Kernel string        // directory with boot/vmlinuz-* and lib/modules/*; empty: /
	Init   string        // the first process, a static binary whose main calls inside.Main; empty: this program
	QEMU   string        // program; empty: qemu-system-x86_64
	Accel  string        // kvm or tcg; empty: the best one that works
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
	Image   string          // path of a raw or qcow2 file, which is only read
	Overlay string          // path of the qcow2 file to create on top of it
	Plan    *repair.Plan    // what to do
	Report  *inspect.Report // what the plan was made from
	MACs    []string        // of the machine's cards, the first one first
	Full    bool            // run the guest's own programs even where writing files is enough

	// Progress, unless it is nil, is told the step that begins, how many are done,
	// and how many there are. It is called by one goroutine at a time.
	Progress func(step string, done, total int)
}

// Change is a file that a repair has made or changed.
type Change struct {
	Step   string `json:"step"`             // of the plan
	Path   string `json:"path"`             // in the guest
	Before string `json:"before,omitempty"` // SHA-256; empty: there was no such file
	After  string `json:"after,omitempty"`  // SHA-256, or where a symbolic link leads
	Backup string `json:"backup,omitempty"` // where the original is kept, in the guest
}

// Result is what was done.
type Result struct {
	Changes []Change
	Log     string // what the guest's programs said, the end of it
}

// Repair creates the overlay and carries out the plan on it. When it fails, there is
// no overlay, and the error says at which step and what was said there.
func (a *Appliance) Repair(context.Context, Request) (*Result, error) {
	return nil, droveway.Missing("image.repair", "this version cannot repair images yet")
}
