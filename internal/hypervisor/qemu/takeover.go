package qemu

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A disk of an instance that received is in one of these phases. Which one is
// the name of the block node that the guest's device uses, so QEMU itself keeps
// the record.
//
//	blank ──▶ origin ◀──▶ top ──▶ local   (reads from the origin)
//	  │       (a mirror that ends by an error leads back to origin)
//	  ├─────▶ both ──▶ origin ──▶ local   (reads from the local file, see useBoth)
//	  └──────(without an origin)────▶ local

// drive gives the block node that a disk's device uses.
func (i *Instance) drive(ctx context.Context, n int) (string, error) {
	var node string
	err := i.execute(ctx, "qom-get", object{"path": "/machine/peripheral/" + diskDevice(n), "property": "drive"}, &node)
	return node, err
}

// drives gives those of all disks.
func (i *Instance) drives(ctx context.Context) ([]string, error) {
	var all []string
	for n := range i.h.Spec.Disks {
		node, err := i.drive(ctx, n)
		if err != nil {
			return nil, err
		}
		all = append(all, node)
	}
	return all, nil
}

// TakeOver lets the guest run with its origins for disks, and then begins to copy
// them: a mirror takes in whatever was written before it. The placeholders go in
// between: as long as one is there the guest has not been seen to run. While memory
// follows the copy begins first, for QEMU may stand over a missing page, for ever if
// the other side dies, once the guest runs.
func (i *Instance) TakeOver(ctx context.Context, origins []hypervisor.Origin) error {
	return i.exclusive(ctx, "take over", func() error {
		s, err := i.arrived(ctx)
		if err != nil {
			return err
		}
		if !i.h.Spec.Waits() {
			return droveway.Errorf(droveway.Conflict, "its instance was not made to receive")
		}
		if err := i.attach(ctx, origins); err != nil {
			return err
		}
		if s == hypervisor.Received {
			if err := i.setOff(ctx, origins); err != nil {
				return err
			}
		}
		if err := i.dropBlanks(ctx); err != nil {
			return err
		}
		return i.copies(ctx, origins)
	})
}

// arriveWithin is how long memory that the source has handed over may take to be taken
// in. Where the rest follows, the source is done as soon as it has sent what the guest
// needs to run, and that may still be under way.
const arriveWithin = 10 * time.Second

// arrived waits for what the guest needs to run.
func (i *Instance) arrived(ctx context.Context) (hypervisor.State, error) {
	s, err := i.must(ctx, hypervisor.Incoming, hypervisor.Received, hypervisor.Running, hypervisor.Paused, hypervisor.Stuck, hypervisor.Crashed)
	if err != nil || s != hypervisor.Incoming {
		return s, err
	}
	within, cancel := context.WithTimeout(ctx, arriveWithin)
	defer cancel()
	err = i.until(within, func() (bool, error) {
		s, err = i.state(within)
		return s != hypervisor.Incoming, err
	})
	if err != nil {
		return s, droveway.Errorf(droveway.KindOf(err), "its memory has not arrived: %w", err)
	}
	return i.must(ctx, hypervisor.Received, hypervisor.Running, hypervisor.Paused, hypervisor.Stuck, hypervisor.Crashed)
}

// setOff lets the guest run here for the first time.
func (i *Instance) setOff(ctx context.Context, origins []hypervisor.Origin) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	if m.following() {
		if err := i.copies(ctx, origins); err != nil {
			return err
		}
	}
	return i.execute(ctx, "cont", nil, nil)
}

// attach gives the guest its disks.
func (i *Instance) attach(ctx context.Context, origins []hypervisor.Origin) error {
	if len(origins) > 0 {
		return i.attachOrigins(ctx, origins)
	}
	for n, d := range i.h.Spec.Disks {
		if err := i.useLocal(ctx, n); err != nil {
			return droveway.Errorf(droveway.KindOf(err), "disk %s: %w", d.Name, err)
		}
	}
	return nil
}

// useLocal makes the local file the guest's disk.
func (i *Instance) useLocal(ctx context.Context, n int) error {
	node, err := i.drive(ctx, n)
	if err != nil || node != blankNode(n) {
		return err
	}
	if err := i.addLocal(ctx, n); err != nil {
		return err
	}
	return i.setDrive(ctx, n, localNode(n))
}

// addLocal opens the local file.
func (i *Instance) addLocal(ctx context.Context, n int) error {
	user, err := i.account()
	if err != nil {
		return err
	}
	d := i.h.Spec.Disks[n]
	if err := user.own(d.Path); err != nil {
		return err
	}
	return i.addNode(ctx, localNode(n), fileNode(localNode(n), d))
}

func (i *Instance) setDrive(ctx context.Context, n int, node string) error {
	return i.execute(ctx, "qom-set", object{
		"path": "/machine/peripheral/" + diskDevice(n), "property": "drive", "value": node,
	}, nil)
}

func (i *Instance) attachOrigins(ctx context.Context, origins []hypervisor.Origin) error {
	creds, err := i.tls(ctx, client)
	if err != nil {
		return err
	}
	return i.each(origins, func(n int, o hypervisor.Origin) error { return i.use(ctx, n, o, creds) })
}

// each calls do with every disk and its origin.
func (i *Instance) each(origins []hypervisor.Origin, do func(n int, o hypervisor.Origin) error) error {
	for n, d := range i.h.Spec.Disks {
		at := slices.IndexFunc(origins, func(o hypervisor.Origin) bool { return o.Disk == d.Name })
		if at < 0 {
			return droveway.Errorf(droveway.Invalid, "disk %s has no origin", d.Name)
		}
		if err := do(n, origins[at]); err != nil {
			return droveway.Errorf(droveway.KindOf(err), "disk %s: %w", d.Name, err)
		}
	}
	return nil
}

// use puts an origin in the place of a disk's placeholder.
func (i *Instance) use(ctx context.Context, n int, o hypervisor.Origin, creds string) error {
	node, err := i.drive(ctx, n)
	if err != nil || node != blankNode(n) {
		return err
	}
	if o.Reads == hypervisor.ReadLocal {
		return i.useBoth(ctx, n, o, creds)
	}
	return i.useOrigin(ctx, n, o, creds)
}

// copies begins to copy the disks that are not copied yet.
func (i *Instance) copies(ctx context.Context, origins []hypervisor.Origin) error {
	if len(origins) == 0 {
		return nil
	}
	return i.each(origins, func(n int, o hypervisor.Origin) error {
		node, err := i.drive(ctx, n)
		if err != nil {
			return err
		}
		return i.copy(ctx, n, node, o.Rate)
	})
}

// copy begins to copy a disk, as it goes with the node that its device uses.
func (i *Instance) copy(ctx context.Context, n int, node string, rate int64) error {
	switch {
	case i.fills(n):
		return i.fill(ctx, n, rate)
	case node == originNode(n):
		return i.mirror(ctx, n, rate)
	case node == bothNode(n):
		return i.stream(ctx, n, rate)
	}
	return nil
}

// connectWithin is how long QEMU tries to reach an origin, in seconds. It does
// nothing else meanwhile.
const connectWithin = 5

// patience is how long the guest's requests wait for an origin that has been
// lost, in seconds. Afterwards they fail, which stops the guest.
const patience = 30

// useOrigin makes the export the guest's disk. It comes before the mirror, or the
// device would go past the mirror's filter.
func (i *Instance) useOrigin(ctx context.Context, n int, o hypervisor.Origin, creds string) error {
	if err := i.connectOrigin(ctx, originNode(n), o, creds); err != nil {
		return err
	}
	return i.setDrive(ctx, n, originNode(n))
}

// connectOrigin makes a node of an export.
func (i *Instance) connectOrigin(ctx context.Context, name string, o hypervisor.Origin, creds string) error {
	node, err := nbdNode(name, o, creds, i.patience)
	if err != nil {
		return err
	}
	return i.reach(ctx, name, node, o)
}

// connectReadOnly makes a node of an export that cannot be written.
func (i *Instance) connectReadOnly(ctx context.Context, name string, o hypervisor.Origin, creds string) error {
	node, err := nbdNode(name, o, creds, i.patience)
	if err != nil {
		return err
	}
	node["read-only"] = true
	return i.reach(ctx, name, node, o)
}

func (i *Instance) reach(ctx context.Context, name string, node object, o hypervisor.Origin) error {
	err := i.addNode(ctx, name, node)
	if droveway.Is(err, droveway.Conflict) {
		err = droveway.Errorf(droveway.Unavailable, "origin at %s: %w", o.Address, err)
	}
	return err
}

func nbdNode(name string, o hypervisor.Origin, creds string, patience int) (object, error) {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "address of the origin: %w", err)
	}
	node := object{
		"driver": "nbd", "node-name": name, "export": o.Export, "discard": "unmap",
		"server":          object{"type": "inet", "host": host, "port": port},
		"reconnect-delay": patience, "open-timeout": connectWithin,
	}
	if creds != "" {
		node["tls-creds"], node["tls-hostname"] = creds, o.Peer
	}
	return node, nil
}

// addNode makes a block node that is not there yet.
func (i *Instance) addNode(ctx context.Context, name string, node object) error {
	there, err := i.nodes(ctx)
	if err != nil || slices.Contains(there, name) {
		return err
	}
	return i.execute(ctx, "blockdev-add", node, nil)
}

// Measured: with a smaller buffer, or with QEMU's own granularity, the copy
// starves the guest's requests.
const (
	mirrorBuffer      = 1 << 20
	mirrorGranularity = 64 << 10
)

// mirror begins to copy an origin to the local file, with every write of the
// guest going to both before the guest sees it done.
func (i *Instance) mirror(ctx context.Context, n int, rate int64) error {
	if err := i.addLocal(ctx, n); err != nil {
		return err
	}
	if err := i.dismiss(ctx, n); err != nil {
		return err
	}
	return i.execute(ctx, "blockdev-mirror", object{
		"job-id": syncJob(n), "device": originNode(n), "target": localNode(n), "filter-node-name": topNode(n),
		"sync": "full", "copy-mode": "write-blocking", "on-source-error": "stop", "on-target-error": "stop",
		"buf-size": mirrorBuffer, "granularity": mirrorGranularity, "speed": rate, "auto-dismiss": false,
	}, nil)
}

func (i *Instance) dropBlanks(ctx context.Context) error {
	there, err := i.nodes(ctx)
	if err != nil {
		return err
	}
	for n := range i.h.Spec.Disks {
		if err := i.dropNode(ctx, there, blankNode(n)); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instance) dropNode(ctx context.Context, there []string, name string) error {
	if !slices.Contains(there, name) {
		return nil
	}
	return i.execute(ctx, "blockdev-del", object{"node-name": name}, nil)
}
