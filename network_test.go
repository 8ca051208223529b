package droveway

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNetworkValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		subnet netip.Prefix
		vni    uint32
		says   string // part of the message; empty: it is valid
	}{
		{"default", netip.MustParsePrefix("10.20.0.0/16"), 4242, ""},
		{"least", netip.MustParsePrefix("192.0.2.4/30"), 1, ""},
		{"most", netip.MustParsePrefix("10.0.0.0/8"), maxVNI, ""},
		{"", netip.MustParsePrefix("10.0.0.0/8"), 1, "network name is empty"},
		{"default", netip.Prefix{}, 1, "give an IPv4 subnet"},
		{"default", netip.MustParsePrefix("fd00::/64"), 1, `subnet "fd00::/64": give an IPv4 subnet`},
		{"default", netip.MustParsePrefix("10.20.0.1/16"), 1, "write 10.20.0.0/16"},
		{"default", netip.MustParsePrefix("10.20.0.0/31"), 1, "use /30 or wider"},
		{"default", netip.MustParsePrefix("10.20.0.0/16"), 0, "VNI 0"},
		{"default", netip.MustParsePrefix("10.20.0.0/16"), maxVNI + 1, "VNI 16777216"},
	} {
		n := Network{Meta: Meta{Name: c.name}, Subnet: c.subnet, VNI: c.vni}
		err := n.Validate()
		if c.says == "" && err != nil {
			t.Errorf("network %s: %v", c.name, err)
		}
		if c.says != "" && (!Is(err, Invalid) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("error %v; want it invalid and to say %q", err, c.says)
		}
	}
}
