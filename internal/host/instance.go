package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/network"
)

// create makes the volumes of a machine, from images where it says so.
func (a *Agent) create(ctx context.Context, m *machine, i Instance, t *task) (Observed, error) {
	same := m.rec.Instance.UUID == i.UUID
	if same && (m.rec.Role == RoleIdle || m.rec.Role == RoleHome) {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbCreate, RoleNone); err != nil {
		return Observed{}, err
	}
	if !same { // what an earlier machine of the name left half made is not this one's
		if err := a.clear(ctx, m); err != nil {
			return Observed{}, err
		}
		if err := a.mustBeFree(&i); err != nil {
			return Observed{}, err
		}
	}
	if err := a.room(&i); err != nil {
		return Observed{}, err
	}
	if err := a.save(m, func(r *record) { *r = record{Instance: i, Role: RoleNone} }); err != nil {
		return Observed{}, err
	}
	meter := newMeter(i.Disks)
	for _, d := range i.Disks {
		if err := a.fill(ctx, i.Machine, d, meter.disk(t)); err != nil {
			return Observed{}, fmt.Errorf("make disk %s of machine %s: %w", d.Name, i.Machine, err)
		}
	}
	if err := a.save(m, func(r *record) { r.Role = RoleIdle }); err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}

// mustBeFree refuses a machine for which there are disks already: no record names them,
// so they are of another one, whose record was taken away perhaps.
func (a *Agent) mustBeFree(i *Instance) error {
	for _, d := range i.Disks {
		name := droveway.VolumeName(i.Machine, d.Name)
		if path, _, err := a.pool.Path(name); err == nil {
			return droveway.Errorf(droveway.Conflict, "host %s has %s, a disk of another machine %s that no record tells of: move it away, or take another name", a.cfg.Name, path, i.Machine)
		}
	}
	return nil
}

func (a *Agent) fill(ctx context.Context, machine string, d Disk, progress func(int64)) error {
	name := droveway.VolumeName(machine, d.Name)
	if d.Origin != nil {
		return a.pool.CreateLacking(ctx, name, d.Size)
	}
	if d.Image == nil {
		return a.pool.Create(ctx, name, d.Format, d.Size)
	}
	if _, _, err := a.pool.Path(name); err == nil {
		return nil // a repetition: a volume is there only when it is whole
	}
	from, err := a.cfg.Images.Open(ctx, *d.Image, 0)
	if err != nil {
		return fmt.Errorf("read image %s: %w", d.Image.Name, err)
	}
	defer from.Close()
	return a.pool.Fill(ctx, name, d.Format, d.Size, &checked{from, sha256.New(), d.Image}, d.Image.Format, progress)
}

// checked fails at the end of an image whose bytes are not the ones it was
// imported with.
type checked struct {
	io.Reader
	sum   hash.Hash
	image *Image
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(c.sum.Sum(nil)) != c.image.SHA256 {
		return n, droveway.Errorf(droveway.Unavailable, "image %s arrived damaged: its hash differs from the imported one", c.image.Name)
	}
	return n, err
}

// start runs a machine whose disks are here.
func (a *Agent) start(ctx context.Context, m *machine, i Instance, _ *task) (Observed, error) {
	if err := m.must(verbStart, RoleIdle, RoleHome); err != nil {
		return Observed{}, err
	}
	if s, err := m.state(ctx); err != nil || s != hypervisor.Gone {
		return a.observe(ctx, m), err
	}
	m.drop()
	old := m.rec.Instance
	if err := a.save(m, func(r *record) { r.Instance, r.Role, r.Handle = i, RoleHome, nil }); err != nil {
		return Observed{}, err
	}
	a.removeDir(a.instanceDir(&old))
	if err := a.run(ctx, m, forNothing); err != nil {
		return Observed{}, errors.Join(err, a.save(m, func(r *record) { r.Role = RoleIdle }))
	}
	return a.observe(ctx, m), nil
}

// wait is what an instance waits for before its guest runs.
type wait int

const (
	forNothing wait = iota
	forMemory       // from another host
	forDisks        // it boots once TakeOver says where they are
)

// run starts the instance of the record.
func (a *Agent) run(ctx context.Context, m *machine, w wait) error {
	spec, err := a.spec(ctx, &m.rec.Instance, w)
	if err != nil {
		return err
	}
	spec.Peer = m.rec.Peer
	defer closeTAPs(spec.NICs)
	inst, err := a.cfg.Driver.Start(ctx, spec)
	if err != nil {
		return fmt.Errorf("start machine %s: %w", m.name, err)
	}
	if err := a.save(m, func(r *record) { r.Handle = inst.Handle() }); err != nil {
		ctx, cancel := cleanUp(ctx)
		defer cancel()
		return errors.Join(err, inst.Stop(ctx, 0))
	}
	a.hold(m, inst)
	return nil
}

func closeTAPs(nics []hypervisor.NIC) {
	for _, n := range nics {
		if n.TAP != nil {
			n.TAP.Close()
		}
	}
}

// spec is the driver's view of an instance.
func (a *Agent) spec(ctx context.Context, i *Instance, w wait) (hypervisor.Spec, error) {
	dir := a.instanceDir(i)
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil { // guests may run as another user
		return hypervisor.Spec{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return hypervisor.Spec{}, err
	}
	s := hypervisor.Spec{
		Machine: i.Machine, UUID: i.UUID, Dir: dir, CPUs: i.CPUs, CPU: i.CPU, MemoryMiB: i.MemoryMiB, Incoming: w == forMemory, Standing: w == forDisks, TLS: a.tls(),
	}
	var err error
	if s.Firmware, s.Vars, err = a.firmware(i); err != nil {
		return s, err
	}
	if s.Disks, err = a.disks(i); err != nil {
		return s, err
	}
	if s.Seed, err = a.seed(dir, i); err != nil {
		return s, err
	}
	s.NICs, err = a.cards(ctx, i)
	return s, err
}

func (a *Agent) disks(i *Instance) ([]hypervisor.Disk, error) {
	var all []hypervisor.Disk
	for _, d := range i.Disks {
		path, format, err := a.pool.Path(droveway.VolumeName(i.Machine, d.Name))
		if err != nil {
			return nil, err
		}
		filled, err := a.filled(i.Machine, d)
		if err != nil {
			return nil, err
		}
		all = append(all, hypervisor.Disk{Name: d.Name, Path: path, Format: format, Size: d.Size, Filled: filled})
	}
	return all, nil
}

// seed writes what cloud-init tells the guest. It depends on the machine alone,
// so that every host writes the same bytes.
func (a *Agent) seed(dir string, i *Instance) (string, error) {
	c := network.SeedConfig{Machine: i.Machine, InstanceID: i.UUID, SSHKeys: i.SSHKeys, UserData: i.UserData}
	for _, n := range i.NICs {
		c.NICs = append(c.NICs, network.SeedNIC{MAC: n.MAC, Address: n.Address})
	}
	path := filepath.Join(dir, "seed.iso")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	return path, errors.Join(network.Seed(f, c), f.Close())
}

func (a *Agent) cards(ctx context.Context, i *Instance) ([]hypervisor.NIC, error) {
	if a.cfg.Fabric == nil {
		return nil, nil
	}
	var all []hypervisor.NIC
	for n, c := range i.NICs {
		tap, err := a.card(ctx, &c, tapName(i, n))
		if err != nil {
			closeTAPs(all)
			return nil, fmt.Errorf("network card %d of machine %s: %w", n, i.Machine, err)
		}
		all = append(all, hypervisor.NIC{ID: fmt.Sprintf("net%d", n), MAC: c.MAC, TAP: tap})
	}
	return all, nil
}

func (a *Agent) card(ctx context.Context, c *NIC, name string) (*os.File, error) {
	if err := a.cfg.Fabric.Ensure(ctx, c.Network, a.peers()); err != nil {
		return nil, err
	}
	return a.cfg.Fabric.TAP(ctx, c.Network.VNI, name)
}

// tapName is a device name of its own for each card of each instance, within
// the kernel's 15 characters.
func tapName(i *Instance, card int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s.%d.%d", i.Machine, i.Token, card))
	return "dwt" + hex.EncodeToString(sum[:6])
}

// stop ends the instance; the disks stay.
func (a *Agent) stop(ctx context.Context, m *machine, s Stop, _ *task) (Observed, error) {
	if err := m.must(verbStop, RoleIdle, RoleHome); err != nil {
		return Observed{}, err
	}
	if inst := m.instance(); inst != nil {
		if err := inst.Stop(ctx, s.Grace); err != nil {
			return Observed{}, fmt.Errorf("stop machine %s: %w", m.name, err)
		}
		m.drop()
	}
	if err := a.save(m, func(r *record) { r.Role, r.Handle = RoleIdle, nil }); err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}

// remove takes away all that the host has of a machine, whatever its role.
func (a *Agent) remove(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if err := a.clear(ctx, m); err != nil {
		return Observed{}, err
	}
	if err := a.records.remove(m.name); err != nil {
		return Observed{}, err
	}
	a.forget(m.name)
	return a.nothing(m.name), nil
}

// clear ends the processes of a machine and removes its volumes and
// directories.
func (a *Agent) clear(ctx context.Context, m *machine) error {
	if err := m.kill(ctx); err != nil {
		return err
	}
	if err := a.endSecondary(ctx, m); err != nil {
		return err
	}
	i := &m.rec.Instance
	for _, d := range i.Disks {
		if err := a.pool.Remove(ctx, droveway.VolumeName(i.Machine, d.Name)); err != nil {
			return err
		}
	}
	a.removeDir(a.instanceDir(i))
	a.removeDir(a.secondaryDir(m.name))
	return a.removeVars(m.name)
}

func (a *Agent) removeDir(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		a.cfg.Log.Warn("directory stays behind", "dir", dir, "error", err)
	}
}

func (a *Agent) show(ctx context.Context, r Ref) (Observed, error) {
	return a.observe(ctx, a.look(r.Machine)), nil
}
