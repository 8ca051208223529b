package machine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/google/go-cmp/cmp"
)

func testNetwork(name, subnet string) droveway.Network {
	return droveway.Network{Meta: droveway.Meta{Name: name}, Subnet: netip.MustParsePrefix(subnet), VNI: 7}
}

func card(network, mac, addr string) droveway.NIC {
	n := droveway.NIC{Network: network, MAC: mac}
	if addr != "" {
		n.Address = netip.MustParseAddr(addr)
	}
	return n
}

func machineWith(name string, cards ...droveway.NIC) droveway.Machine {
	return droveway.Machine{Meta: droveway.Meta{Name: name}, Spec: droveway.MachineSpec{NICs: cards}}
}

// filled is machines that have the addresses base.from to base.to.
func filled(network, base string, from, to int) []droveway.Machine {
	var ms []droveway.Machine
	for i := from; i <= to; i++ {
		ms = append(ms, machineWith(fmt.Sprint("m-", i), card(network, fmt.Sprintf("02:00:00:00:00:%02x", i), fmt.Sprintf("%s.%d", base, i))))
	}
	return ms
}

func TestCardsGivesAddresses(t *testing.T) {
	t.Parallel()
	networks := []droveway.Network{
		testNetwork(defaultNetwork, "10.20.0.0/16"), testNetwork("lan", "192.168.5.0/24"),
		testNetwork("tiny", "172.16.0.8/30"), testNetwork("small", "172.16.1.0/27"),
	}
	tests := []struct {
		name  string
		cards []droveway.NIC
		taken []droveway.Machine
		want  []string
	}{
		{"no card: one on default", nil, nil, []string{"default 10.20.0.10"}},
		{"no network: default", []droveway.NIC{{}}, nil, []string{"default 10.20.0.10"}},
		{"next free", []droveway.NIC{card("lan", "", "")}, filled("lan", "192.168.5", 10, 12), []string{"lan 192.168.5.13"}},
		{"a gap", []droveway.NIC{card("lan", "", "")}, append(filled("lan", "192.168.5", 10, 12), filled("lan", "192.168.5", 14, 20)...), []string{"lan 192.168.5.13"}},
		{"another network's addresses do not count", []droveway.NIC{card("lan", "", "")}, filled(defaultNetwork, "192.168.5", 10, 12), []string{"lan 192.168.5.10"}},
		{"two cards", []droveway.NIC{card("lan", "", ""), card("lan", "", "")}, nil, []string{"lan 192.168.5.10", "lan 192.168.5.11"}},
		{"a given one further down", []droveway.NIC{card("lan", "", ""), card("lan", "", "192.168.5.10")}, nil, []string{"lan 192.168.5.11", "lan 192.168.5.10"}},
		{"below the first", []droveway.NIC{card("lan", "", "192.168.5.1")}, nil, []string{"lan 192.168.5.1"}},
		{"mapped IPv4", []droveway.NIC{card("lan", "", "::ffff:192.168.5.77")}, nil, []string{"lan 192.168.5.77"}},
		{"tiny", []droveway.NIC{card("tiny", "", "")}, nil, []string{"tiny 172.16.0.10"}},
		{"small", []droveway.NIC{card("small", "", "")}, filled("small", "172.16.1", 10, 29), []string{"small 172.16.1.30"}},
		{"own former cards do not count", []droveway.NIC{card("lan", "", "192.168.5.10")}, []droveway.Machine{machineWith("new", card("lan", "02:00:00:00:00:01", "192.168.5.10"))}, []string{"lan 192.168.5.10"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := machineWith("new", tt.cards...)
			cards, err := cards(&m, networks, holdingsOf(tt.taken, "new"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range cards {
				got = append(got, c.Network+" "+c.Address.String())
				if !strings.HasPrefix(c.MAC, "52:54:00:") {
					t.Errorf("MAC %s has not the prefix 52:54:00", c.MAC)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCardsRefuses(t *testing.T) {
	t.Parallel()
	networks := []droveway.Network{testNetwork("lan", "192.168.5.0/24"), testNetwork("tiny", "172.16.0.8/30")}
	web := []droveway.Machine{machineWith("web", card("lan", "02:00:00:00:00:0a", "192.168.5.10"))}
	tests := []struct {
		name  string
		cards []droveway.NIC
		taken []droveway.Machine
		kind  droveway.Kind
		says  string
	}{
		{"unknown network", []droveway.NIC{card("wan", "", "")}, nil, droveway.NotFound, `"wan"`},
		{"no default network", nil, nil, droveway.NotFound, `"default"`},
		{"outside", []droveway.NIC{card("lan", "", "192.168.6.10")}, nil, droveway.Invalid, "192.168.5.0/24"},
		{"IPv6", []droveway.NIC{card("lan", "", "fd00::1")}, nil, droveway.Invalid, "192.168.5.0/24"},
		{"the subnet's own", []droveway.NIC{card("lan", "", "192.168.5.0")}, nil, droveway.Invalid, "192.168.5.0/24"},
		{"broadcast", []droveway.NIC{card("lan", "", "192.168.5.255")}, nil, droveway.Invalid, "192.168.5.0/24"},
		{"address taken", []droveway.NIC{card("lan", "", "192.168.5.10")}, web, droveway.Conflict, "machine web"},
		{"MAC taken", []droveway.NIC{card("lan", "02-00-00-00-00-0A", "")}, web, droveway.Conflict, "machine web"},
		{"two cards, one address", []droveway.NIC{card("lan", "", "192.168.5.20"), card("lan", "", "192.168.5.20")}, nil, droveway.Invalid, "192.168.5.20"},
		{"two cards, one MAC", []droveway.NIC{card("lan", "02:00:00:00:00:01", ""), card("lan", "02:00:00:00:00:01", "")}, nil, droveway.Invalid, "02:00:00:00:00:01"},
		{"subnet full", []droveway.NIC{card("lan", "", "")}, filled("lan", "192.168.5", 10, 254), droveway.Conflict, "192.168.5.0/24"},
		{"tiny subnet full", []droveway.NIC{card("tiny", "", ""), card("tiny", "", "")}, nil, droveway.Conflict, "172.16.0.8/30"},
		{"MAC of eight bytes", []droveway.NIC{card("lan", "02:00:00:00:00:01:02:03", "")}, nil, droveway.Invalid, "six bytes"},
		{"group MAC", []droveway.NIC{card("lan", "01:00:5e:00:00:01", "")}, nil, droveway.Invalid, "group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := machineWith("new", tt.cards...)
			_, err := cards(&m, networks, holdingsOf(tt.taken, "new"))
			if !droveway.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %s error %v, want %s with %q", droveway.KindOf(err), err, tt.kind, tt.says)
			}
		})
	}
}

// A second machine of a name must not have the first one's MAC, and all cards
// of one network differ even where the hash does not.
func TestCardsMACs(t *testing.T) {
	t.Parallel()
	networks := []droveway.Network{testNetwork(defaultNetwork, "10.20.0.0/16")}
	older, newer := machineWith("web"), machineWith("web")
	newer.Created = older.Created.Add(1)
	a, err := cards(&older, networks, holdings{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := cards(&newer, networks, holdings{})
	if err != nil {
		t.Fatal(err)
	}
	if a[0].MAC == b[0].MAC {
		t.Errorf("both machines called web have the MAC %s", a[0].MAC)
	}
	taken := holdingsOf([]droveway.Machine{machineWith("other", a...)}, "web")
	c, err := cards(&older, networks, taken)
	if err != nil {
		t.Fatal(err)
	}
	if c[0].MAC == a[0].MAC {
		t.Errorf("the MAC %s was given twice", a[0].MAC)
	}
}
