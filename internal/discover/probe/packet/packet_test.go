package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/capture"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// header makes the bytes of a segment.
func header(s segment) []byte {
	be := binary.BigEndian
	h := make([]byte, tcpHeader)
	be.PutUint16(h, s.from.Port())
	be.PutUint16(h[2:], s.to.Port())
	be.PutUint32(h[4:], s.seq)
	be.PutUint32(h[8:], s.ack)
	h[13] = s.flags
	var ip []byte
	if s.from.Addr().Is4() {
		ip = make([]byte, ip4Header+4)
		ip[0], ip[9] = 4<<4|6, 6 // with an option
		copy(ip[12:], s.from.Addr().AsSlice())
		copy(ip[16:], s.to.Addr().AsSlice())
	} else {
		ip = make([]byte, ip6Header)
		ip[0], ip[6] = 6<<4, 6
		copy(ip[8:], s.from.Addr().AsSlice())
		copy(ip[24:], s.to.Addr().AsSlice())
	}
	return append(ip, h...)
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestParse(t *testing.T) {
	t.Parallel()
	for _, want := range []segment{
		{at("10.0.0.1:1"), at("10.0.0.2:80"), syn, 7, 0},
		{at("[2001:db8::1]:443"), at("[2001:db8::2]:9"), syn | ack, 1 << 31, 8},
	} {
		b := header(want)
		if got, ok := parse(b); got != want || !ok {
			t.Errorf("%+v", got)
		}
		for n := range b {
			if _, ok := parse(b[:n]); ok {
				t.Errorf("%d bytes are taken for a packet", n)
			}
		}
	}
	b := header(segment{from: at("10.0.0.1:1"), to: at("10.0.0.2:80")})
	b[7] = 1
	if _, ok := parse(b); ok {
		t.Error("a later fragment is taken for a header")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(header(segment{at("10.0.0.1:1"), at("10.0.0.2:80"), syn, 7, 0}))
	f.Add(header(segment{at("[::1]:1"), at("[::2]:80"), syn, 7, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parse(b); ok && (!s.from.IsValid() || !s.to.IsValid()) {
			t.Errorf("%+v", s)
		}
	})
}

// seen is a packet as a namespace sees it.
type seen struct {
	from, to string
	flags    byte
	seq, ack uint32
	out      bool
}

func follow(local string, packets ...seen) (events []capture.Event) {
	f := newFollower(1)
	f.local = map[netip.Addr]bool{netip.MustParseAddr(local): true}
	for i, p := range packets {
		s := segment{at(p.from), at(p.to), p.flags, p.seq, p.ack}
		if e, ok := f.packet(s, p.out, time.Unix(int64(1000+i), 0)); ok {
			events = append(events, e)
		}
	}
	return events
}

func TestFollow(t *testing.T) {
	t.Parallel()
	const c, s = "10.0.0.1:5000", "10.0.0.2:80"
	client := follow("10.0.0.1",
		seen{c, s, syn, 100, 0, true},
		seen{c, s, syn, 100, 0, true}, // again
		seen{s, c, syn | ack, 900, 101, false},
		seen{c, s, fin | ack, 101, 901, true},
	)
	if len(client) != 2 || client[0].Kind != capture.Opened || !client[0].Outbound || client[0].ISN != 100<<32|900 || client[1].Kind != capture.Closed {
		t.Errorf("%+v", client)
	}
	server := follow("10.0.0.2",
		seen{c, s, syn, 100, 0, false},
		seen{s, c, syn | ack, 900, 101, true},
		seen{s, c, syn | ack, 900, 101, true}, // again
		seen{c, s, rst, 101, 0, false},
	)
	if len(server) != 2 || server[0].Outbound || server[0].ISN != client[0].ISN || server[0].Remote != at(c) || server[1].Kind != capture.Closed {
		t.Errorf("%+v", server)
	}
	both := follow("127.0.0.1",
		seen{"127.0.0.1:5", "127.0.0.2:6", syn, 1, 0, true}, seen{"127.0.0.1:5", "127.0.0.2:6", syn, 1, 0, false},
		seen{"127.0.0.2:6", "127.0.0.1:5", syn | ack, 2, 2, true}, seen{"127.0.0.2:6", "127.0.0.1:5", syn | ack, 2, 2, false},
	)
	if len(both) != 2 || both[0].Outbound == both[1].Outbound {
		t.Errorf("loopback: %+v", both)
	}
}

// What a router passes on is no connection of its own, even where its own address
// is in the packet.
func TestForwardedIsNotOurs(t *testing.T) {
	t.Parallel()
	const outside, router, inside = "198.51.100.9:5000", "203.0.113.2:8080", "10.2.0.11:80"
	inward := follow("203.0.113.2",
		seen{outside, router, syn, 100, 0, false},
		seen{outside, inside, syn, 100, 0, true},
		seen{inside, outside, syn | ack, 900, 101, false},
		seen{router, outside, syn | ack, 900, 101, true},
	)
	outward := follow("203.0.113.2",
		seen{inside, outside, syn, 100, 0, false},
		seen{"203.0.113.2:5000", outside, syn, 100, 0, true},
		seen{outside, "203.0.113.2:5000", syn | ack, 900, 101, false},
		seen{outside, inside, syn | ack, 900, 101, true},
	)
	if len(inward)+len(outward) != 0 {
		t.Errorf("%+v %+v", inward, outward)
	}
}

func TestRefusedAndFlood(t *testing.T) {
	t.Parallel()
	f := newFollower(1)
	f.local = map[netip.Addr]bool{netip.MustParseAddr("10.0.0.2"): true}
	now := time.Unix(1000, 0)
	for i := range uint32(maxHalf + 10) {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 16), byte(i >> 8)}), uint16(i))
		f.packet(segment{from, at("10.0.0.2:80"), syn, i, 0}, false, now)
	}
	if len(f.half) != maxHalf || f.lost != 10 {
		t.Errorf("%d half open, %d lost", len(f.half), f.lost)
	}
	f.packet(segment{at("10.0.0.9:1"), at("10.0.0.2:80"), ack, 0, 0}, false, now.Add(2*halfAge))
	if len(f.half) != 0 {
		t.Errorf("%d are kept for ever", len(f.half))
	}
}
