package droveway

import "net/netip"

// Network is a layer-2 network that spans the hosts: machines on it see each
// other wherever they run.
type Network struct {
	Meta
	Subnet netip.Prefix `json:"subnet"` // machines get their addresses from it
	VNI    uint32       `json:"vni"`    // VXLAN network identifier, 24 bits
}

const (
	maxVNI      = 1<<24 - 1
	minHostBits = 2
)

// Validate checks a network as a person wrote it.
func (n *Network) Validate() error {
	if err := ValidName("network", n.Name); err != nil {
		return err
	}
	switch {
	case !n.Subnet.IsValid() || !n.Subnet.Addr().Is4():
		return Errorf(Invalid, "network %s: subnet %q: give an IPv4 subnet such as 10.20.0.0/16", n.Name, n.Subnet)
	case n.Subnet.Masked() != n.Subnet:
		return Errorf(Invalid, "network %s: subnet %s has host bits set: write %s", n.Name, n.Subnet, n.Subnet.Masked())
	case n.Subnet.Bits() > 32-minHostBits:
		return Errorf(Invalid, "network %s: subnet %s has no room: use /%d or wider", n.Name, n.Subnet, 32-minHostBits)
	case n.VNI == 0 || n.VNI > maxVNI:
		return Errorf(Invalid, "network %s: VNI %d: give 1 to %d", n.Name, n.VNI, maxVNI)
	}
	return nil
}
