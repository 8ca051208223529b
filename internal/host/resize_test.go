package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

func resize(token uint64, disks ...DiskSize) Resize { return Resize{ref(token), disks} }

// volume is the file of a disk of the machine.
func (n *node) volume(disk string) string {
	return filepath.Join(n.cfg.Dir, "volumes", web+"."+disk+".raw")
}

// has checks the length of a disk's file.
func (n *node) has(disk string, want int64) {
	n.t.Helper()
	fi, err := os.Stat(n.volume(disk))
	must(n.t, err)
	if fi.Size() != want {
		n.t.Errorf("disk %s has %d bytes, want %d", disk, fi.Size(), want)
	}
}

// grows orders a disk to be of a size, twice, with another agent each time.
func (n *node) grows(disk string, size int64) {
	n.t.Helper()
	for range 2 {
		r, err := n.rig.Resize(n.t.Context(), n.cfg.Name, resize(5, DiskSize{disk, size}))
		must(n.t, err)
		if want := []DiskSize{{disk, size}}; r.Refused != "" || !slices.Equal(r.Disks, want) {
			n.t.Errorf("resized %+v, want %v", r, want)
		}
		n.has(disk, size)
		n.restart()
	}
	if have := n.machine(web).record().Instance.Disks[0].Size; have != size {
		n.t.Errorf("the record says %d bytes, want %d", have, size)
	}
}

func TestResize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	must(t, n.guest().Write("root", 0, []byte("kept")))
	n.grows("root", 2*diskSize)
	must(t, n.guest().Write("root", 2*diskSize-512, []byte("new room")))
	_, err := r.Stop(t.Context(), "a", Stop{Ref: ref(5)})
	must(t, err)
	n.grows("root", 3*diskSize)
	b, err := os.ReadFile(n.volume("root"))
	must(t, err)
	if string(b[:4]) != "kept" || string(b[2*diskSize-512:][:8]) != "new room" {
		t.Error("the disk has lost what was on it")
	}
}

// SYSTEMS 1.9: what cannot be is refused before any disk is changed.
func TestResizeRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	for says, bad := range map[string]DiskSize{
		"can only grow":        {"root", diskSize / 2},
		"would need":           {"root", 1 << 56},
		"no volume web.nobody": {"nobody", diskSize},
	} {
		re, err := r.Resize(t.Context(), "a", resize(5, DiskSize{"root", 2 * diskSize}, bad))
		must(t, err)
		refused(t, droveway.Errorf(droveway.Conflict, "%s", re.Refused), droveway.Conflict, says)
		n.has("root", diskSize)
	}
	n.driver.Fail("Resize", droveway.Errorf(droveway.Unavailable, "%w", errors.New("busy")))
	_, err := r.Resize(t.Context(), "a", resize(5, DiskSize{"root", 2 * diskSize}))
	refused(t, err, droveway.Unavailable, "busy")
	n.driver.Fail("Resize", nil)
	n.grows("root", 2*diskSize)
}

// The caller learns how large each disk has become, also if one refused.
func TestResizeOfOneOfTwo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	i := instance(5)
	i.Disks = append(i.Disks, Disk{Name: "data", Format: droveway.QCOW2, Size: diskSize})
	_, err := r.Create(t.Context(), "a", i, nil)
	must(t, err)
	_, err = r.Start(t.Context(), "a", i)
	must(t, err)
	re, err := r.Resize(t.Context(), "a", resize(5, DiskSize{"root", 2 * diskSize}, DiskSize{"data", 2 * diskSize}))
	must(t, err)
	refused(t, droveway.Errorf(droveway.Conflict, "%s", re.Refused), droveway.Conflict, "disk data is qcow2")
	if want := []DiskSize{{"root", 2 * diskSize}, {"data", diskSize}}; !slices.Equal(re.Disks, want) {
		t.Errorf("disks %v, want %v", re.Disks, want)
	}
	n.is(RoleHome, hypervisor.Running)
}

// A disk that was made larger behind the fleet's back would not fit into the
// copy that was reserved: the guest does not leave, and goes on.
func TestDiskThatGrewSinceTheReservation(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	ctx := t.Context()
	p.send(1)
	must(t, os.Truncate(p.a.volume("root"), 2*diskSize))
	_, err := p.Handover(ctx, "a", Handover{Ref: ref(atSource)})
	refused(t, err, droveway.Conflict, "disk root of machine web has 2097152 bytes here and 1048576 in the fleet's record")
	p.a.is(RoleLeaving, hypervisor.Held)
	_, err = p.Cancel(ctx, "a", ref(atSource))
	must(t, err)
	p.a.is(RoleHome, hypervisor.Running)
	_, err = p.Secondary(ctx, "a", Secondary{Ref: ref(atSource), Peer: "b"})
	refused(t, err, droveway.Conflict, "use droveway machine resize")
	_, err = p.Leave(ctx, "a", Stop{Ref: ref(atSource)})
	refused(t, err, droveway.Conflict, "use droveway machine resize")
	p.a.is(RoleHome, hypervisor.Running)
	_, err = p.Resize(ctx, "a", resize(atSource, DiskSize{"root", 2 * diskSize}))
	must(t, err)
	_, err = p.Secondary(ctx, "a", Secondary{Ref: ref(atSource), Peer: "b"})
	must(t, err)
}
