package host

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

const (
	consoleMax = 64 << 10 // bytes in one answer
	// A guest writes to its console as it likes, and must not fill its host's
	// disk by that. The newest consoleKeep bytes are kept, and at most twice
	// as many until the next look.
	consoleKeep  = 16 << 20
	consoleEvery = 30 * time.Second
	consoleBlock = 4096 // what file systems free at a time
)

func (a *Agent) console(ctx context.Context, c Console) (ConsoleData, error) {
	if c.Offset < 0 {
		return ConsoleData{}, droveway.Errorf(droveway.Invalid, "console of machine %s: offset %d: give 0 or more", c.Machine, c.Offset)
	}
	o := a.observe(ctx, a.look(c.Machine))
	if o.Console == "" {
		return ConsoleData{Next: c.Offset}, nil
	}
	f, err := os.Open(o.Console)
	if err != nil {
		return ConsoleData{}, droveway.Errorf(droveway.Unavailable, "console of machine %s: %w", c.Machine, err)
	}
	defer f.Close()
	from, b := kept(f, c.Offset), make([]byte, consoleMax)
	n, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return ConsoleData{}, err
	}
	return ConsoleData{Data: b[:n], Next: from + int64(n)}, nil
}

// kept is the first offset, from one on, whose bytes were not dropped.
func kept(f *os.File, from int64) int64 {
	at, err := unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
	if err != nil { // past the end
		return from
	}
	return at
}

// trimConsoles bounds what the guests' consoles take on the disk, until ctx ends.
func (a *Agent) trimConsoles(ctx context.Context) {
	for {
		for _, m := range a.all() {
			if inst := m.instance(); inst != nil {
				if err := trim(inst.Console(), consoleKeep); err != nil && !errors.Is(err, os.ErrNotExist) {
					a.cfg.Log.Warn("the console's log is not shortened", "machine", m.name, "error", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(consoleEvery):
		}
	}
}

// trim frees all of a file but its newest bytes. The offsets of those stay, so
// that the hypervisor writes on and a reader goes on where it was.
func trim(path string, keep int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	drop := (end - keep) / consoleBlock * consoleBlock
	if drop <= 0 {
		return nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, drop)
	return os.NewSyscallError("fallocate", err)
}
