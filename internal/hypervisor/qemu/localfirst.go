package qemu

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A disk that is read from the local file first is made of these nodes while it
// hydrates:
//
//	device ─▶ both ─┬─▶ part ─┬─▶ the local file   what is here
//	                │         └─▶ origin           what is not
//	                └─▶ write ─▶ the same export as origin
//
// both is QEMU's quorum: a write or a flush is done when both sides have it, and
// fails if one of them fails, which stops the guest. A read takes part, which
// knows by a map what the local file has. The copy, a block-stream job, fills it,
// and so does what the guest reads. The copy has a connection of its own, so the
// guest's writes do not queue behind it.

func bothNode(n int) string  { return fmt.Sprintf("d%d-both", n) }
func partNode(n int) string  { return fmt.Sprintf("d%d-part", n) }
func writeNode(n int) string { return fmt.Sprintf("d%d-write", n) }

// mapFile is the file of a disk's map.
func (i *Instance) mapFile(n int) string { return i.h.file(fmt.Sprintf("disk%d.map", n)) }

// useBoth makes both sides the guest's disk. It may have been cut short before:
// only what the device uses is known to be whole.
func (i *Instance) useBoth(ctx context.Context, n int, o hypervisor.Origin, creds string) error {
	if err := i.dropBoth(ctx, n); err != nil {
		return err
	}
	for _, name := range []string{originNode(n), writeNode(n)} {
		if err := i.connectOrigin(ctx, name, o, creds); err != nil {
			return err
		}
	}
	if err := i.addPart(ctx, n); err != nil {
		return err
	}
	if err := i.addNode(ctx, bothNode(n), both(bothNode(n), partNode(n), writeNode(n))); err != nil {
		return err
	}
	return i.setDrive(ctx, n, bothNode(n))
}

// both is a node that writes two sides and reads the first.
func both(name string, sides ...any) object {
	return object{"driver": "quorum", "node-name": name, "children": sides, "vote-threshold": len(sides), "read-pattern": "fifo"}
}

// addPart opens the local file by a new map. Nothing of it is flushed: up to the
// end of hydration the origin is what has to last, and Settle flushes the file.
func (i *Instance) addPart(ctx context.Context, n int) error {
	d := i.h.Spec.Disks[n]
	user, err := i.account()
	if err != nil {
		return err
	}
	if err := os.WriteFile(i.mapFile(n), emptyMap(d.Size), 0o600); err != nil {
		return droveway.Errorf(droveway.Internal, "map of what is copied: %w", err)
	}
	if err := user.own(i.mapFile(n), d.Path); err != nil {
		return err
	}
	return i.addNode(ctx, partNode(n), object{
		"driver": "qcow2", "node-name": partNode(n), "discard": "unmap", "backing": originNode(n),
		"file":      object{"driver": "file", "filename": i.mapFile(n), "cache": unflushed},
		"data-file": localFile(d),
	})
}

var unflushed = object{"no-flush": true}

func localFile(d hypervisor.Disk) object {
	return object{
		"driver": d.Format, "discard": "unmap", "cache": unflushed,
		"file": object{"driver": "file", "filename": d.Path, "discard": "unmap", "cache": unflushed},
	}
}

// stream begins to copy what the local file lacks. QEMU 7.2 crashes if it is asked
// for all nodes while a block-stream has given up its filter and is still there. So
// the job waits to be ended by endStreams, and then goes away at once.
func (i *Instance) stream(ctx context.Context, n int, rate int64) error {
	return i.streamInto(ctx, n, rate, object{"device": partNode(n)})
}

// streamInto begins a block-stream for a disk, unless that is under way or done. Where
// says into which node.
func (i *Instance) streamInto(ctx context.Context, n int, rate int64, where object) error {
	jobs, err := i.jobs(ctx)
	if err != nil {
		return err
	}
	if _, ok := jobs[syncJob(n)]; ok {
		return nil
	}
	if whole, err := i.filled(ctx, n); err != nil || whole {
		return err
	}
	job := object{"job-id": syncJob(n), "on-error": "stop", "speed": rate, "auto-finalize": false}
	maps.Copy(job, where)
	return i.execute(ctx, "block-stream", job, nil)
}

// endStreams ends the copies that have all, and gives the jobs that are left. Within
// the command that ends one QEMU carries out no other.
func (i *Instance) endStreams(ctx context.Context, jobs map[string]blockJob) (map[string]blockJob, error) {
	i.graph.Lock()
	defer i.graph.Unlock()
	ended := false
	for id, j := range jobs {
		if !j.streamed() || !i.endsAtOnce(id) {
			continue
		}
		ended = true
		// Somebody else may have ended it meanwhile.
		if err := i.execute(ctx, "job-finalize", object{"id": id}, nil); err != nil && !droveway.Is(err, droveway.Conflict) {
			return nil, err
		}
	}
	if !ended {
		return jobs, nil
	}
	return i.jobs(ctx)
}

// endsAtOnce reports whether a copy is ended as soon as it has all. That of a disk
// which is filled waits for Settle.
func (i *Instance) endsAtOnce(job string) bool {
	for n := range i.h.Spec.Disks {
		if job == syncJob(n) {
			return !i.fills(n)
		}
	}
	return true
}

// filled reports whether the local file has all: nothing is read from the origin
// any more.
func (i *Instance) filled(ctx context.Context, n int) (bool, error) {
	reader := partNode(n)
	if i.fills(n) {
		reader = localNode(n)
	}
	all, err := i.blockNodes(ctx)
	if err != nil {
		return false, err
	}
	for _, node := range all {
		if node.Name == reader {
			return node.Backing == "", nil
		}
	}
	return false, nil
}

// leaveBoth makes the local file the guest's disk. The guest is held. On the way
// the device is on the origin, which has every write: whoever finds it there, for
// the agent died, may let the guest go on, and copy once more.
func (i *Instance) leaveBoth(ctx context.Context, n int) error {
	if err := i.setDrive(ctx, n, originNode(n)); err != nil {
		return err
	}
	if err := i.dropBoth(ctx, n); err != nil {
		return err
	}
	if err := i.addLocal(ctx, n); err != nil {
		return err
	}
	return i.setDrive(ctx, n, localNode(n))
}

// dropBoth removes the nodes above the local file, if there are any.
func (i *Instance) dropBoth(ctx context.Context, n int) error {
	there, err := i.nodes(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{bothNode(n), partNode(n), writeNode(n)} {
		if err := i.dropNode(ctx, there, name); err != nil {
			return err
		}
	}
	_ = os.Remove(i.mapFile(n)) // goes with the directory otherwise
	return nil
}

// emptyMap is a qcow2 file without data that says that nothing of a disk is
// here, see
// https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt.
// The data are in another file, at the places where the guest sees them: that
// file is the disk once the map is full. qemu-img does not make such a file: it
// wants all of the data to be here.
func emptyMap(size int64) []byte {
	const externalData, rawData = 1 << 2, 1 << 1 // an incompatible feature, an autoclear feature
	bits := clusterBits(size)
	cluster := int64(1) << bits
	perTable := cluster / 8 * cluster // bytes of a disk that a table of the second level describes
	tables := (size + perTable - 1) / perTable
	used := 3 + (tables*8+cluster-1)/cluster // header, reference counts: table and block, first level
	b := make([]byte, used*cluster)
	copy(b, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(b[4:], 3) // version
	be.PutUint32(b[20:], bits)
	be.PutUint64(b[24:], uint64(size))
	be.PutUint32(b[36:], uint32(tables))
	be.PutUint64(b[40:], uint64(3*cluster)) // where the first level is
	be.PutUint64(b[48:], uint64(cluster))   // where the reference counts are
	be.PutUint32(b[56:], 1)                 // clusters of them
	be.PutUint64(b[72:], externalData)
	be.PutUint64(b[88:], rawData)
	be.PutUint32(b[96:], 4) // 16 bits for a reference count
	be.PutUint32(b[100:], 104)
	be.PutUint64(b[cluster:], uint64(2*cluster))
	for n := range used {
		be.PutUint16(b[2*cluster+2*n:], 1)
	}
	return b
}

// clusterBits says how fine a map is. Of a block that a guest writes nothing has
// to be fetched if a cluster is no larger; for a huge disk that map would be too
// large for QEMU. Clusters with parts of their own are no way out: before 8.1 QEMU
// fails an assertion when it copies into them.
func clusterBits(size int64) uint32 {
	if size <= 1<<40 {
		return 12
	}
	return 16
}
