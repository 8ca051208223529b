// Package mend measures the repair of an image on an overlay: inspected, planned for and
// carried out, each time anew, without a server and without a copy of the disk.
package mend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/repair"
)

const mac = "52:54:00:12:34:56" // of the future machine's card

// Shop is what a repair needs.
type Shop struct {
	Binary string // droveway
	Kernel string // directory of the appliance's
	Accel  string // kvm or tcg
	Full   bool   // the guest's own programs run
}

// Repair repairs a disk and tells what that took, without the peak of memory, and how
// many files it has changed. CPU is that of this process and of all its children that
// ended meanwhile: nothing else may run in it.
func (s Shop) Repair(ctx context.Context, disk string) (c cost.Cost, files int, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "dwn-") // not in TMPDIR, which may be memory
	if err != nil {
		return c, 0, fmt.Errorf("make a directory for the overlay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began, used := time.Now(), spent()
	request, err := look(ctx, disk)
	if err != nil {
		return c, 0, err
	}
	request.Overlay, request.MACs, request.Full = filepath.Join(dir, "overlay.qcow2"), []string{mac}, s.Full
	a := appliance.New(appliance.Config{Kernel: s.Kernel, Init: s.Binary, Accel: s.Accel, User: "nobody"})
	done, err := a.Repair(ctx, request)
	if err != nil {
		return c, 0, err
	}
	c.WallMS, c.CPUMS = cost.MS(time.Since(began)), cost.MS(spent()-used)
	return c, len(done.Changes), nil
}

// look inspects the disk and plans.
func look(ctx context.Context, disk string) (r appliance.Request, err error) {
	catalog, err := identify.Default()
	if err != nil {
		return r, err
	}
	r.Image = disk
	r.Report, err = inspect.File(ctx, disk, inspect.Options{Catalog: catalog, Then: func(found *inspect.Report, t *filesystem.Tree) (err error) {
		r.Plan, err = repair.Make(found, t)
		return err
	}})
	return r, err
}

// spent is the CPU time of this process and of its children that have ended.
func spent() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}
