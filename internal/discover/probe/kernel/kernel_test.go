package kernel

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/droveway/droveway/internal/discover/probe/capture"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made is a record as the program writes it.
func made(before, after uint16, v6 bool) []byte {
	le := binary.LittleEndian
	b := make([]byte, recordSize)
	le.PutUint64(b[atTime:], 5)
	le.PutUint64(b[atSocket:], 0xffff888000000001)
	le.PutUint64(b[atProcess:], 42<<32|43)
	le.PutUint32(b[atNamespace:], 9)
	le.PutUint32(b[atSent:], 101)
	le.PutUint32(b[atReceived:], 0) // its number was the last there is
	copy(b[atAddr4:], []byte{10, 0, 0, 1})
	copy(b[atPeer4:], []byte{10, 0, 0, 2})
	le.PutUint16(b[atPort:], 5000)
	binary.BigEndian.PutUint16(b[atPeerPort:], 80)
	le.PutUint16(b[atFamily:], unix.AF_INET)
	le.PutUint16(b[atProtocol:], unix.IPPROTO_TCP)
	le.PutUint16(b[atOld:], before)
	le.PutUint16(b[atNew:], after)
	copy(b[atName:], "curl\x00garbage")
	if v6 {
		le.PutUint16(b[atFamily:], unix.AF_INET6)
		a, p := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("::ffff:10.0.0.2").As16()
		copy(b[atAddr6:], a[:])
		copy(b[atPeer6:], p[:])
	}
	return b
}

func TestDecode(t *testing.T) {
	t.Parallel()
	const us, other = 100<<32 | 0xffffffff, 0xffffffff<<32 | 100
	for _, tt := range []struct {
		name          string
		before, after uint16
		want          capture.Event
	}{
		{"connect", closed, synSent, capture.Event{Kind: capture.Started, PID: 42, Name: "curl"}},
		{"listen", closed, listen, capture.Event{Kind: capture.Listening, PID: 42}},
		{"connected", synSent, established, capture.Event{Kind: capture.Opened, Outbound: true, PID: 42, ISN: us}},
		{"accepted", 3, established, capture.Event{Kind: capture.Opened, ISN: other}},
		{"closed by us", established, finWait1, capture.Event{Kind: capture.Closed, PID: 42}},
		{"closed by the other", established, closeWait, capture.Event{Kind: capture.Closed}},
		{"reset", established, closed, capture.Event{Kind: capture.Closed}},
		{"let go", closeWait, lastAck, capture.Event{Kind: capture.Released, PID: 42}},
	} {
		got, ok, err := decode(made(tt.before, tt.after, false), 1000)
		want := tt.want
		want.Key = capture.Key{Namespace: 9, Socket: 0xffff888000000001}
		want.Local, want.Remote = netip.MustParseAddrPort("10.0.0.1:5000"), netip.MustParseAddrPort("10.0.0.2:80")
		want.Time = got.Time
		if got != want || !ok || err != nil || got.Time.UnixNano() != 1005 {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	stranger := made(established, finWait1, false)
	binary.LittleEndian.PutUint64(stranger[atProcess:], 0)
	if got, _, _ := decode(stranger, 0); got.Kind != capture.Released || got.PID != 0 {
		t.Errorf("closed by somebody unknown: %+v", got)
	}
	got, _, _ := decode(made(synSent, established, true), 0)
	if got.Local.String() != "[2001:db8::1]:5000" || got.Remote.String() != "10.0.0.2:80" {
		t.Errorf("%+v", got)
	}
	if _, ok, _ := decode(made(2, 7, false), 0); ok {
		t.Error("nobody answered, and yet a connection")
	}
	b := made(synSent, established, false)
	binary.LittleEndian.PutUint16(b[atProtocol:], unix.IPPROTO_SCTP)
	if _, ok, _ := decode(b, 0); ok {
		t.Error("SCTP is taken for TCP")
	}
	if _, _, err := decode(b[:20], 0); err == nil {
		t.Error("a short record is taken for one")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(made(synSent, established, false))
	f.Add(made(closed, listen, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok, err := decode(b, 0); ok && (err != nil || !e.Local.IsValid() || e.PID < 0) {
			t.Errorf("%+v, %v", e, err)
		}
		if len(b) >= foundSize {
			found(b[:foundSize])
		}
	})
}

func TestFound(t *testing.T) {
	t.Parallel()
	b := made(0, established, false)
	binary.LittleEndian.PutUint32(b[atReceived:], 901)
	f, ok := found(b[:foundSize])
	if !ok || f.Listening || f.ISN(true) != 101<<32|900 || f.ISN(false) != 900<<32|100 {
		t.Errorf("%+v: %x %x", f, f.ISN(true), f.ISN(false))
	}
	if f, ok := found(made(0, listen, true)[:foundSize]); !ok || !f.Listening {
		t.Errorf("%+v", f)
	}
	if _, ok := found(made(0, lastAck, false)[:foundSize]); ok {
		t.Error("a connection that ends is taken for an open one")
	}
}
