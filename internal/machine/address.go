package machine

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway"
)

// defaultNetwork is the network of a machine that names none.
const defaultNetwork = "default"

// Where the addresses that the server gives begin, counted from the subnet's
// own. The first address is left for a gateway, the next ones for computers that
// are no machines; a subnet too small for that keeps the gateway only.
const (
	firstOffset      = 10
	firstOffsetSmall = 2
	smallBits        = 27 // this long a prefix and longer: small
)

// macTries bounds the search for a free MAC address: with 24 bits to choose
// from, one that is taken this often is no accident.
const macTries = 64

// holdings is what the network cards of a fleet hold: on each network, which machine
// has an address.
type holdings struct {
	addrs map[string]map[netip.Addr]string
	macs  map[string]map[string]string
}

// holdingsOf collects what the cards of the machines hold, except those of the
// machine named except.
func holdingsOf(machines []droveway.Machine, except string) holdings {
	t := holdings{addrs: map[string]map[netip.Addr]string{}, macs: map[string]map[string]string{}}
	for _, m := range machines {
		if m.Name == except {
			continue
		}
		for _, n := range m.Spec.NICs {
			t.add(n, m.Name)
		}
	}
	return t
}

func (t holdings) add(n droveway.NIC, machine string) {
	if t.addrs[n.Network] == nil {
		t.addrs[n.Network] = map[netip.Addr]string{}
		t.macs[n.Network] = map[string]string{}
	}
	t.addrs[n.Network][n.Address] = machine
	t.macs[n.Network][n.MAC] = machine
}

// cards completes the network cards of a new machine: a machine without any gets
// one on the default network, a card without MAC or address gets one that nobody
// has. It changes neither m nor taken. Its errors: NotFound names an unknown
// network, Invalid an address that cannot be, Conflict one that is taken or a
// subnet that is full.
func cards(m *droveway.Machine, networks []droveway.Network, taken holdings) ([]droveway.NIC, error) {
	cards := slices.Clone(m.Spec.NICs)
	if len(cards) == 0 {
		cards = []droveway.NIC{{}}
	}
	// What is written down goes first, so that no other card of the machine
	// is given an address that stands further down.
	mine := holdingsOf(nil, "")
	for i := range cards {
		if err := checkCard(m.Name, &cards[i], networks, taken, mine); err != nil {
			return nil, err
		}
	}
	for i := range cards {
		if err := completeCard(m, i, &cards[i], networks, taken, mine); err != nil {
			return nil, err
		}
	}
	return cards, nil
}

// checkCard puts what is written of a card into one form and claims it in mine.
func checkCard(machine string, card *droveway.NIC, networks []droveway.Network, taken, mine holdings) error {
	if card.Network == "" {
		card.Network = defaultNetwork
	}
	n, err := networkNamed(networks, card.Network)
	if err != nil {
		return fmt.Errorf("machine %s: %w", machine, err)
	}
	if card.MAC != "" {
		if card.MAC, err = canonicalMAC(machine, card.MAC); err != nil {
			return err
		}
	}
	card.Address = card.Address.Unmap()
	if card.Address.IsValid() {
		if err := checkAddress(machine, card.Address, n); err != nil {
			return err
		}
	}
	if err := free(machine, *card, taken, mine); err != nil {
		return err
	}
	mine.add(*card, machine)
	return nil
}

func completeCard(m *droveway.Machine, i int, card *droveway.NIC, networks []droveway.Network, taken, mine holdings) error {
	n, err := networkNamed(networks, card.Network)
	if err != nil {
		return err
	}
	if card.MAC == "" {
		if card.MAC, err = freeMAC(m, i, n, taken, mine); err != nil {
			return err
		}
	}
	if !card.Address.IsValid() {
		if card.Address, err = freeAddress(n, taken, mine); err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
	}
	mine.add(*card, m.Name)
	return nil
}

func networkNamed(networks []droveway.Network, name string) (droveway.Network, error) {
	i := slices.IndexFunc(networks, func(n droveway.Network) bool { return n.Name == name })
	if i < 0 {
		return droveway.Network{}, droveway.Errorf(droveway.NotFound, "there is no network %q: make it first", name)
	}
	return networks[i], nil
}

func checkAddress(machine string, a netip.Addr, n droveway.Network) error {
	switch {
	case !n.Subnet.Contains(a):
		return droveway.Errorf(droveway.Invalid, "machine %s: address %s is outside the subnet %s of network %s", machine, a, n.Subnet, n.Name)
	case a == n.Subnet.Addr() || a == broadcast(n.Subnet):
		return droveway.Errorf(droveway.Invalid, "machine %s: address %s stands for all of the subnet %s of network %s: give one inside", machine, a, n.Subnet, n.Name)
	}
	return nil
}

// free refuses a card whose address or MAC somebody has.
func free(machine string, card droveway.NIC, taken, mine holdings) error {
	if what, _ := mine.holds(card); what != "" {
		return droveway.Errorf(droveway.Invalid, "machine %s: two of its cards have %s: give each its own", machine, what)
	}
	if what, owner := taken.holds(card); what != "" {
		return droveway.Errorf(droveway.Conflict, "machine %s: %s belongs to machine %s: give another, or none", machine, what, owner)
	}
	return nil
}

// holds names what of the card is taken, if anything is, and by which machine.
func (t holdings) holds(card droveway.NIC) (what, owner string) {
	if owner, ok := t.addrs[card.Network][card.Address]; ok && card.Address.IsValid() {
		return fmt.Sprintf("address %s on network %s", card.Address, card.Network), owner
	}
	if owner, ok := t.macs[card.Network][card.MAC]; ok && card.MAC != "" {
		return fmt.Sprintf("MAC %s on network %s", card.MAC, card.Network), owner
	}
	return "", ""
}

func freeAddress(n droveway.Network, taken, mine holdings) (netip.Addr, error) {
	last := broadcast(n.Subnet)
	for a := first(n.Subnet); a.Less(last); a = a.Next() {
		if _, ok := taken.addrs[n.Name][a]; ok {
			continue
		}
		if _, ok := mine.addrs[n.Name][a]; ok {
			continue
		}
		return a, nil
	}
	return netip.Addr{}, droveway.Errorf(droveway.Conflict, "network %s has no free address left in %s: remove machines, or use another network", n.Name, n.Subnet)
}

func first(subnet netip.Prefix) netip.Addr {
	offset := firstOffset
	if subnet.Bits() > smallBits {
		offset = firstOffsetSmall
	}
	a := subnet.Masked().Addr()
	for range offset {
		a = a.Next()
	}
	return a
}

func broadcast(subnet netip.Prefix) netip.Addr {
	b := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// freeMAC makes an address from what the machine is, so that a machine that is
// made again gets another: caches of neighbours must not mistake it.
func freeMAC(m *droveway.Machine, card int, n droveway.Network, taken, mine holdings) (string, error) {
	for try := range macTries {
		mac := hashMAC(m.Name, m.Created, card, try)
		_, theirs := taken.macs[n.Name][mac]
		_, ours := mine.macs[n.Name][mac]
		if !theirs && !ours {
			return mac, nil
		}
	}
	return "", droveway.Errorf(droveway.Conflict, "machine %s: no free MAC address on network %s: give one", m.Name, n.Name)
}

// hashMAC keeps to the prefix 52:54:00, which is locally administered and what
// guests expect of QEMU.
func hashMAC(machine string, created time.Time, card, try int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d\x00%d", machine, created.UnixNano(), card, try))
	return net.HardwareAddr{0x52, 0x54, 0x00, h[0], h[1], h[2]}.String()
}

func canonicalMAC(machine, s string) (string, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", droveway.Errorf(droveway.Invalid, "machine %s: MAC %q: write six bytes as 52:54:00:12:34:56", machine, s)
	}
	if mac[0]&1 != 0 {
		return "", droveway.Errorf(droveway.Invalid, "machine %s: MAC %s is a group address: its first byte must be even", machine, mac)
	}
	return mac.String(), nil
}
