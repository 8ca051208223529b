package bootcheck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

const (
	lookEvery = 250 * time.Millisecond

	// quiet is how long a guest that answers on its network may say nothing on its
	// console until that is taken for all that it will say.
	quiet = time.Minute

	// maxWritten bounds the overlay. No boot writes that much.
	maxWritten = 4 << 30
)

// watch is a guest that is watched.
type watch struct {
	inst    hypervisor.Instance
	spec    hypervisor.Spec
	within  time.Duration
	console console
	began   time.Time
	spoke   time.Time // when the console said something last
}

// run watches until a sign, the guest's end, or the limit.
func (w *watch) run(ctx context.Context) (droveway.BootCheck, error) {
	w.began = time.Now()
	w.spoke = w.began
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		changed := w.inst.Changed()
		res, err := w.look(ctx)
		if err != nil || res.Verdict != "" {
			res.TookMS, res.Console = time.Since(w.began).Milliseconds(), w.console.tail()
			return res, err
		}
		select {
		case <-ctx.Done():
			return res, context.Cause(ctx)
		case <-changed:
		case <-tick.C:
		}
	}
}

// look judges the guest now; without a verdict it may still come up.
func (w *watch) look(ctx context.Context) (droveway.BootCheck, error) {
	state, err := w.inst.State(ctx) // before the console, of which the last word counts
	if err != nil {
		return droveway.BootCheck{}, err
	}
	s, more, err := w.console.look()
	switch past := time.Since(w.began); {
	case err != nil:
		return droveway.BootCheck{}, droveway.Errorf(droveway.Internal, "read the console: %w", err)
	case s != nil:
		return droveway.BootCheck{Verdict: s.Verdict, Sign: s.Name, Reason: s.Says, Advice: s.Advice}, nil
	case state == hypervisor.Gone:
		return failed("ended", "it powered off, or its hypervisor ended, before it was up"), nil
	case state == hypervisor.Stuck:
		return droveway.BootCheck{}, droveway.Errorf(droveway.Unavailable, "a write of the guest failed: make room on the server: %w", syscall.ENOSPC)
	case w.console.at > maxRead:
		return unknown("it writes to its console without end, and no sign is in it"), nil
	case w.written() > maxWritten:
		return unknown(fmt.Sprintf("it has written more than %d GiB to its disk and its network and shown no sign", maxWritten>>30)), nil
	case past > w.within:
		return w.tooLong(), nil
	case more:
		w.spoke = time.Now()
	case time.Since(w.spoke) > quiet && w.console.silent() && w.onNetwork():
		return droveway.BootCheck{Verdict: droveway.BootOK, Sign: "network", Reason: "it uses its network card; its serial console is silent"}, nil
	}
	return droveway.BootCheck{}, nil
}

// tooLong judges a guest that has had its time.
func (w *watch) tooLong() droveway.BootCheck {
	switch {
	case w.onNetwork():
		return droveway.BootCheck{Verdict: droveway.BootOK, Sign: "network", Reason: fmt.Sprintf("it uses its network card; its serial console showed no sign within %s", w.within)}
	case w.console.silent():
		return unknown(fmt.Sprintf("its serial console was silent for %s, and it sent nothing to its network", w.within))
	}
	return unknown(fmt.Sprintf("its serial console showed neither a login nor a failure within %s", w.within))
}

func failed(sign, reason string) droveway.BootCheck {
	return droveway.BootCheck{Verdict: droveway.BootFailed, Sign: sign, Reason: reason}
}

func unknown(reason string) droveway.BootCheck {
	return droveway.BootCheck{Verdict: droveway.BootUnknown, Reason: reason, Advice: "look at the console: does the system write to the serial port at all? A repair lets it"}
}

// written is how many bytes the overlay takes, and what the guest sent by its card.
func (w *watch) written() (n int64) {
	for _, path := range []string{w.spec.Disks[0].Path, filepath.Join(w.spec.Dir, hypervisor.Captured("net0"))} {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err == nil {
			n += st.Blocks * 512
		}
	}
	return n
}

// onNetwork reports whether the guest has used its card.
func (w *watch) onNetwork() bool {
	f, err := os.Open(filepath.Join(w.spec.Dir, hypervisor.Captured("net0")))
	if err != nil {
		return false
	}
	defer f.Close()
	return spoke(f, mac)
}
