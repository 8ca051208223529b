package discover

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What is written without reflection reads as if the standard library wrote it.
func TestAppendJSON(t *testing.T) {
	full := sample()
	full.Connections = append(full.Connections, full.Connections[0], Connection{
		ID: "2", Protocol: "udp", Direction: Inbound, Opened: noon.Add(time.Nanosecond).Local(),
		Local: netip.MustParseAddrPort("[2001:db8::1]:53"), Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:9"),
	})
	bare := Report{Host: "a", Probe: "p}", Seq: 2, Time: noon, Source: "}\n"}
	lost := Report{Host: "a", Probe: "p", Seq: 3, Time: noon, Lost: 7, Connections: full.Connections[:1]}
	for name, r := range map[string]Report{"full": full, "bare": bare, "lost": lost} {
		t.Run(name, func(t *testing.T) {
			const before = "before"
			b, err := r.AppendJSON([]byte(before))
			if err != nil || string(b[:len(before)]) != before {
				t.Fatalf("%q, %v", b, err)
			}
			same(t, r, b[len(before):])
		})
	}
}

func FuzzAppendJSON(f *testing.F) {
	f.Add("1", "tcp", "in", []byte{10, 0, 0, 1}, uint16(80), int64(1), uint64(5), 7)
	f.Add("\"\\", "é", "\xff<", []byte(nil), uint16(0), int64(-1), uint64(0), -1)
	f.Fuzz(func(t *testing.T, id, protocol, direction string, address []byte, port uint16, at int64, isn uint64, pid int) {
		a, _ := netip.AddrFromSlice(address)
		c := Connection{
			ID: id, Protocol: protocol, Direction: Direction(direction), Opened: time.Unix(0, at), PID: pid, ISN: isn,
			Local: netip.AddrPortFrom(a, port),
		}
		r := Report{Host: "a", Connections: []Connection{c, c}}
		b, err := r.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		same(t, r, b)
	})
}

func same(t *testing.T, r Report, b []byte) {
	t.Helper()
	var got, want Report
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if err := json.Unmarshal(encode(t, r), &want); err != nil {
		t.Fatal(err)
	}
	got.normalise()
	want.normalise()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
