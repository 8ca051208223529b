package machine

import (
	"context"
	"net/netip"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/place"
)

// Instance says what a host has to run for a machine. Its token is the caller's
// to choose: see advance.
//
// An image that is in the library no more is left out, for the volumes of a
// machine that was created do not need it. Errors: NotFound for an unknown
// network.
func Instance(ctx context.Context, f *fleet.Fleet, m droveway.Machine, token uint64) (host.Instance, error) {
	i := host.Instance{
		Machine: m.Name, Token: token, UUID: fleet.UUID(&m),
		CPUs: m.Spec.CPUs, CPU: m.Spec.CPU, MemoryMiB: m.Spec.MemoryMiB, Firmware: m.Spec.Firmware,
		SSHKeys: m.Spec.SSHKeys, UserData: m.Spec.UserData,
	}
	for _, d := range m.Spec.Disks {
		image, err := wireImage(ctx, f, d)
		if err != nil {
			return i, err
		}
		i.Disks = append(i.Disks, host.Disk{Name: d.Name, Image: image, Format: d.Format, Size: d.SizeMiB << 20})
	}
	for _, n := range m.Spec.NICs {
		network, _, err := f.Networks.Get(ctx, n.Network)
		if err != nil {
			return i, err
		}
		i.NICs = append(i.NICs, host.NIC{Network: network, MAC: n.MAC, Address: netip.PrefixFrom(n.Address, network.Subnet.Bits())})
	}
	return i, nil
}

// instance is Instance with the token of the record, and with where the host finds
// what the disks are filled from.
func (c *Controller) instance(ctx context.Context, m droveway.Machine) (host.Instance, error) {
	i, err := Instance(ctx, c.cfg.Fleet, m, m.Status.Token)
	for n, d := range m.Spec.Disks {
		if err == nil && d.Origin != "" {
			i.Disks[n].Origin = &host.Origin{Name: d.Origin, Port: c.cfg.Served.Port, Peer: c.cfg.Served.Peer, Rate: BootRate}
		}
	}
	return i, err
}

func wireImage(ctx context.Context, f *fleet.Fleet, d droveway.Disk) (*host.Image, error) {
	if d.Image == "" {
		return nil, nil
	}
	image, _, err := f.Images.Get(ctx, d.Image)
	if droveway.Is(err, droveway.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &host.Image{Name: image.Name, Format: image.Format, Bytes: image.Bytes, SHA256: image.SHA256}, nil
}

// Need says what a machine needs of a host, and what the hosts have promised to
// other machines.
func Need(ctx context.Context, f *fleet.Fleet, m *droveway.Machine) (place.Need, error) {
	machines, err := f.Machines.List(ctx)
	if err != nil {
		return place.Need{}, err
	}
	return need(m, machines), nil
}

func need(m *droveway.Machine, machines []droveway.Machine) place.Need {
	n := place.Need{
		CPUs: m.Spec.CPUs, MemoryMiB: m.Spec.MemoryMiB, DiskMiB: diskMiB(m),
		Requires: slices.Concat(m.Spec.Requires, m.Spec.CPU.Requires(), firmwareRequires(m), requiresOf(m)), Host: m.Spec.Host, Used: map[string]place.Usage{},
	}
	for i := range machines {
		other := &machines[i]
		if other.Name == m.Name || other.Status.Host == "" {
			continue
		}
		use(n.Used, other.Status.Host, other, other.Status.State == droveway.MachinePlaced)
		if to := other.Status.Reserved; to != "" && to != other.Status.Host {
			use(n.Used, to, other, true)
		}
	}
	return n
}

func firmwareRequires(m *droveway.Machine) []string {
	if need := m.Spec.Firmware.Requires(); need != "" {
		return []string{need}
	}
	return nil
}

// use counts what a machine takes of a host; its disks only if they are not made
// yet, for those that are the host's free room does not have.
func use(used map[string]place.Usage, host string, m *droveway.Machine, disks bool) {
	u := used[host]
	u.MemoryMiB += m.Spec.MemoryMiB
	if disks {
		u.DiskMiB += diskMiB(m)
	}
	used[host] = u
}

func diskMiB(m *droveway.Machine) (sum int64) {
	for _, d := range m.Spec.Disks {
		sum += d.SizeMiB
	}
	return sum
}
