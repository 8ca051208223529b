package mem

import (
	"bytes"
	"context"
	"os"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// chunk is how much is copied at a time.
const chunk = 64 << 10

// disk is a disk of a guest. While it has an origin, writes go there first, and
// reads come from there, or from the file as far as it is filled.
type disk struct {
	spec hypervisor.Disk

	io     sync.Mutex // held by whoever uses the file or the origin
	file   *os.File
	origin *origin
	local  bool           // reads come from the file
	filled map[int64]bool // of the file, by the offset of each chunk

	mu   sync.Mutex
	size int64 // of the origin
	done int64 // of it, copied
	rate int64
	err  error
	kick chan struct{} // closed by wake
}

func (d *disk) open() error {
	d.io.Lock()
	defer d.io.Unlock()
	if d.file != nil {
		return nil
	}
	f, err := openLocked(d.spec.Path)
	d.file = f
	return err
}

func (d *disk) close() {
	d.io.Lock()
	defer d.io.Unlock()
	if d.file != nil {
		d.file.Close()
		d.file = nil
	}
	if d.origin != nil {
		d.origin.drop()
	}
}

// drain waits for what is under way.
func (d *disk) drain() {
	d.io.Lock()
	defer d.io.Unlock()
}

var errClosed = droveway.Errorf(droveway.Conflict, "the disk is closed")

// write is called with io locked, as read is.
func (d *disk) write(off int64, p []byte) error {
	if d.file == nil {
		return errClosed
	}
	if d.origin != nil {
		if err := d.fill(off, len(p)); err != nil {
			return err
		}
		if err := d.origin.write(off, p); err != nil {
			return err
		}
	}
	_, err := d.file.WriteAt(p, off)
	return err
}

func (d *disk) read(off int64, p []byte) error {
	if d.file == nil {
		return errClosed
	}
	if d.origin != nil && !d.local {
		return d.origin.read(off, p)
	}
	if d.origin != nil {
		if err := d.fill(off, len(p)); err != nil {
			return err
		}
	}
	_, err := d.file.ReadAt(p, off)
	return err
}

// fill fetches the chunks of a part of the disk that the file lacks. A chunk is
// written in part only once it is there as a whole.
func (d *disk) fill(off int64, n int) error {
	for at := off &^ (chunk - 1); at < off+int64(n); at += chunk {
		if d.filled[at] {
			continue
		}
		p := make([]byte, min(chunk, d.size-at))
		if err := d.origin.read(at, p); err != nil {
			return err
		}
		if len(bytes.Trim(p, "\x00")) > 0 { // the file is empty there
			if _, err := d.file.WriteAt(p, at); err != nil {
				return err
			}
		}
		d.filled[at] = true
	}
	return nil
}

// follow opens the local file, empties it, and makes o the origin.
func (d *disk) follow(ctx context.Context, o hypervisor.Origin) error {
	d.io.Lock()
	defer d.io.Unlock()
	if d.origin != nil {
		return nil
	}
	from := &origin{address: o.Address, export: o.Export}
	size, err := from.size(ctx)
	if err != nil {
		return err
	}
	f, err := openLocked(d.spec.Path)
	if err != nil {
		return err
	}
	for _, n := range []int64{0, size} {
		if err := f.Truncate(n); err != nil {
			f.Close()
			return err
		}
	}
	d.file, d.origin, d.local, d.filled = f, from, o.Reads == hypervisor.ReadLocal, map[int64]bool{}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size, d.rate, d.kick = size, o.Rate, make(chan struct{})
	return nil
}

// leave makes the disk independent of its origin.
func (d *disk) leave() error {
	d.io.Lock()
	defer d.io.Unlock()
	if d.origin == nil {
		return nil
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.origin.drop()
	d.origin = nil
	return nil
}

func (d *disk) hydrating() bool {
	d.io.Lock()
	defer d.io.Unlock()
	return d.origin != nil
}

// copy fetches the origin, chunk by chunk, and calls news after each.
func (d *disk) copy(ctx context.Context, news func()) {
	for off := int64(0); off < d.size && ctx.Err() == nil; {
		n := min(chunk, d.size-off)
		err := d.fetch(off, n)
		again := d.note(n, err)
		news()
		if err != nil {
			select {
			case <-ctx.Done():
			case <-again:
			}
			continue
		}
		off += n
		d.pace(ctx, n)
	}
}

func (d *disk) fetch(off, n int64) error {
	d.io.Lock()
	defer d.io.Unlock()
	if d.file == nil || d.origin == nil {
		return errClosed
	}
	return d.fill(off, int(n))
}

func (d *disk) note(n int64, err error) (again <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if err == nil {
		d.done += n
	}
	return d.kick
}

func (d *disk) pace(ctx context.Context, n int64) {
	d.mu.Lock()
	rate, changed := d.rate, d.kick
	d.mu.Unlock()
	if rate <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-time.After(time.Duration(n) * time.Second / time.Duration(rate)):
	}
}

func (d *disk) setRate(rate int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rate = rate
	d.wake()
}

// retry makes a copy that an error holds up try again.
func (d *disk) retry() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wake()
}

// wake is called with mu locked.
func (d *disk) wake() {
	if d.kick != nil {
		close(d.kick)
		d.kick = make(chan struct{})
	}
}

// progress adds how far the disk is to h.
func (d *disk) progress(h *hypervisor.Hydration) {
	following := d.hydrating()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !following {
		h.Leaving = true
		h.Done, h.Total = h.Done+d.spec.Size, h.Total+d.spec.Size
		return
	}
	h.Settled = false
	h.Done, h.Total = h.Done+d.done, h.Total+d.size
	if d.done < d.size {
		h.Ready = false
	}
	if d.err != nil {
		h.Ready, h.Paused, h.Error = false, true, d.err.Error()
	}
}
