package network

import (
	"net"
	"net/netip"
	"testing"
)

func FuzzSaysHas(f *testing.F) {
	mac, addr := net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}, netip.MustParseAddr("10.20.0.10")
	yes := arp(arpReply, mac, addr)
	f.Add(yes)
	f.Add(arp(arpRequest, mac, addr))
	f.Add(yes[:30])
	f.Fuzz(func(t *testing.T, b []byte) { saysHas(b, mac, addr) })
}

func TestSaysHas(t *testing.T) {
	t.Parallel()
	mac, addr := net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}, netip.MustParseAddr("10.20.0.10")
	other := net.HardwareAddr{0x52, 0x54, 0, 1, 2, 4}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"its reply", arp(arpReply, mac, addr), true},
		{"a request", arp(arpRequest, mac, addr), false},
		{"another's reply", arp(arpReply, other, addr), false},
		{"another address", arp(arpReply, mac, addr.Next()), false},
		{"cut short", arp(arpReply, mac, addr)[:41], false},
		{"the question", whoHas(other, addr), false},
	} {
		if got := saysHas(c.frame, mac, addr); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
