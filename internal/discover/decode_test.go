package discover

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/droveway/droveway"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sample() Report {
	return Report{
		Host: "a", Probe: "p1", Seq: 1, Time: noon, Source: "ebpf",
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		Processes: []Process{{PID: 7, Start: 1, Executable: "/usr/bin/curl"}},
		Listeners: []Listener{{Protocol: "tcp", Address: netip.MustParseAddrPort("[::]:80"), PID: 7}},
		Connections: []Connection{{
			ID: "1", Protocol: "tcp", Direction: Outbound, Opened: noon, Closed: noon.Add(time.Second), PID: 7, ISN: 1 << 40,
			Local: netip.MustParseAddrPort("10.0.0.1:40000"), Remote: netip.MustParseAddrPort("192.0.2.1:80"),
		}},
		Emitted: []Emission{{Pattern: "00000001", Opened: noon}},
		Translations: []Translation{{
			Protocol: "tcp", Source: netip.MustParseAddrPort("10.0.0.1:1"), Destination: netip.MustParseAddrPort("10.0.0.2:2"),
			NewSource: netip.MustParseAddrPort("10.0.0.3:1"), NewDestination: netip.MustParseAddrPort("10.0.0.2:2"),
		}},
	}
}

func encode(t testing.TB, r Report) []byte {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeKeepsAGoodReport(t *testing.T) {
	want := sample()
	got, err := Decode("a", encode(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); d != "" {
		t.Error(d)
	}
}

func TestDecodeWritesIPv4OneWay(t *testing.T) {
	r := sample()
	r.Connections[0].Remote = netip.MustParseAddrPort("[::ffff:192.0.2.1]:80")
	got, err := Decode("a", encode(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if a := got.Connections[0].Remote.String(); a != "192.0.2.1:80" {
		t.Error(a)
	}
}

func TestDecodeRefuses(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	for name, c := range map[string]struct {
		spoil func(*Report)
		kind  droveway.Kind
	}{
		"another host":       {func(r *Report) { r.Host = "b" }, droveway.Permission},
		"no probe":           {func(r *Report) { r.Probe = "" }, droveway.Invalid},
		"no number":          {func(r *Report) { r.Seq = 0 }, droveway.Invalid},
		"no time":            {func(r *Report) { r.Time = time.Time{} }, droveway.Invalid},
		"negative process":   {func(r *Report) { r.Processes[0].PID = -1 }, droveway.Invalid},
		"long executable":    {func(r *Report) { r.Processes[0].Executable = long }, droveway.Invalid},
		"terminal command":   {func(r *Report) { r.Processes[0].Executable = "/bin/a\x1b[2J" }, droveway.Invalid},
		"two lines":          {func(r *Report) { r.Processes[0].Unit = "a\nb" }, droveway.Invalid},
		"command as source":  {func(r *Report) { r.Source = "\u009b1m" }, droveway.Invalid},
		"port 0":             {func(r *Report) { r.Listeners[0].Address = netip.AddrPort{} }, droveway.Invalid},
		"unknown protocol":   {func(r *Report) { r.Listeners[0].Protocol = "sctp" }, droveway.Invalid},
		"no direction":       {func(r *Report) { r.Connections[0].Direction = "" }, droveway.Invalid},
		"no remote":          {func(r *Report) { r.Connections[0].Remote = netip.AddrPort{} }, droveway.Invalid},
		"long ID":            {func(r *Report) { r.Connections[0].ID = long }, droveway.Invalid},
		"closed before open": {func(r *Report) { r.Connections[0].Closed = noon.Add(-time.Second) }, droveway.Invalid},
		"year 9999":          {func(r *Report) { r.Connections[0].Opened = noon.AddDate(7000, 0, 0) }, droveway.Invalid},
		"no pattern":         {func(r *Report) { r.Emitted[0].Pattern = "" }, droveway.Invalid},
		"half translation":   {func(r *Report) { r.Translations[0].NewSource = netip.AddrPort{} }, droveway.Invalid},
		"negative disks":     {func(r *Report) { r.DiskBytes = -1 }, droveway.Invalid},
		"too many emissions": {func(r *Report) { r.Emitted = make([]Emission, MaxEmissions+1) }, droveway.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample()
			c.spoil(&r)
			if _, err := Decode("a", encode(t, r)); !droveway.Is(err, c.kind) {
				t.Errorf("got %v, want kind %s", err, c.kind)
			}
		})
	}
	for _, b := range [][]byte{nil, []byte("{"), []byte(`{"host":1}`), make([]byte, MaxReport+1)} {
		if _, err := Decode("a", b); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%.20q: got %v", b, err)
		}
	}
}

// FuzzDecode feeds what decodes to a joiner: no bytes may upset either.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Add([]byte(`{"host":"a","probe":"p","seq":18446744073709551615,"time":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode("a", b)
		if err != nil {
			return
		}
		if r.Host != "a" {
			t.Fatal("report about another host")
		}
		j := New(Limits{})
		j.Add(r, noon)
		j.Advance(noon.Add(time.Hour))
	})
}
