package conntrack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/droveway/droveway/internal/discover"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(attrLen+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func end(a netip.AddrPort, v4, v6, port uint16) (ip, proto []byte) {
	kind := v4
	if a.Addr().Is6() {
		kind = v6
	}
	return attr(kind, a.Addr().AsSlice()...), attr(port, byte(a.Port()>>8), byte(a.Port()))
}

const nested = 0x8000

func direction(kind uint16, protocol byte, src, dst string) []byte {
	srcIP, srcPort := end(netip.MustParseAddrPort(src), ip4Src, ip6Src, protoSrc)
	dstIP, dstPort := end(netip.MustParseAddrPort(dst), ip4Dst, ip6Dst, protoDst)
	ip := attr(tupleIP|nested, slices.Concat(srcIP, dstIP)...)
	proto := attr(tupleProto|nested, slices.Concat(attr(protoNum, protocol), srcPort, dstPort)...)
	return attr(kind|nested, slices.Concat(ip, proto)...)
}

func message(kind uint16, parts ...[]byte) []byte {
	b := make([]byte, headerLen+familyLen)
	b = append(b, slices.Concat(parts...)...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	return b
}

// What the kernel writes for a masquerade behind a forwarded port, over IPv6, and
// what translates nothing or has no ports.
func sample() []byte {
	return slices.Concat(
		message(newEntry, direction(tupleOrig, 6, "10.1.0.11:40000", "203.0.113.2:8080"), direction(tupleReply, 6, "10.2.0.11:80", "203.0.113.1:50001")),
		message(newEntry, direction(tupleOrig, 6, "10.1.0.11:40000", "10.2.0.11:80"), direction(tupleReply, 6, "10.2.0.11:80", "10.1.0.11:40000")),
		message(newEntry, direction(tupleOrig, 1, "10.1.0.11:8", "10.2.0.11:8"), direction(tupleReply, 1, "10.2.0.11:8", "10.1.0.99:8")),
		message(2, []byte{1, 2, 3, 4}),
		message(newEntry, direction(tupleOrig, 17, "[fd00::1]:40000", "[2001:db8::1]:53"), direction(tupleReply, 17, "[2001:db8::1]:53", "[2001:db8::9]:40000")),
	)
}

func TestTranslations(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	want := []discover.Translation{
		{Protocol: "tcp", Source: at("10.1.0.11:40000"), Destination: at("203.0.113.2:8080"), NewSource: at("203.0.113.1:50001"), NewDestination: at("10.2.0.11:80")},
		{Protocol: "udp", Source: at("[fd00::1]:40000"), Destination: at("[2001:db8::1]:53"), NewSource: at("[2001:db8::9]:40000"), NewDestination: at("[2001:db8::1]:53")},
	}
	if got := translations(sample()); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func FuzzTranslations(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, one := range translations(b) {
			if !one.Source.IsValid() || !one.NewDestination.IsValid() {
				t.Errorf("half a translation: %+v", one)
			}
		}
	})
}
