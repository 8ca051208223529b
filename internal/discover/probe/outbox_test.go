package probe

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/emit"
	"github.com/droveway/droveway/internal/discover/probe/procfs"
	"github.com/droveway/droveway/internal/discover/probe/spool"
)

// flaky is a server that fails as told, then takes.
type flaky struct {
	errs []error
	got  []string
}

func (f *flaky) Send(_ context.Context, b []byte) error {
	f.got = append(f.got, string(b))
	if len(f.errs) == 0 {
		return nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := spool.Open(dir, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a", "b", "c"} {
			if err := s.Put([]byte(text), 1); err != nil {
				t.Fatal(err)
			}
		}
		away := errors.New("away")
		server := &flaky{errs: []error{away, away, nil, droveway.Errorf(droveway.Invalid, "nonsense")}}
		o := &outbox{s, server, slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"a", "a", "a", "b", "c"} // again until it is taken; one refused is gone
		if n, _ := s.Waiting(); n != 0 || len(server.got) != len(want) {
			t.Errorf("%d wait; sent %q", n, server.got)
		}
		for i, text := range want {
			if server.got[i] != text {
				t.Errorf("sent %q", server.got)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func testBatch(events ...capture.Event) *batch {
	l := ledgerOf(events...)
	return &batch{
		host: "host-a", probe: "p", source: func() string { return "test" },
		ledger: l, directory: newDirectory(procfs.New("/proc")),
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	var events []capture.Event
	for i := range 2*batchConnections + 1 {
		e := opened(uint64(i+1), true, 1)
		e.ISN, e.Time = uint64(i+1), start.Add(time.Duration(i)) // each closes the one before
		events = append(events, e)
	}
	b := testBatch(events...)
	for i := range maxEmissions + 3 {
		b.emit(discover.Emission{Pattern: "p", Index: i, Opened: start}, emit.Claim{})
	}
	b.lose(4)
	var reports []discover.Report
	for {
		r, more, err := b.next(start)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		decoded, err := discover.Decode("host-a", r.json)
		if err != nil || r.events != len(decoded.Connections) {
			t.Fatal(err)
		}
		reports = append(reports, decoded)
	}
	if len(reports) != 4 || reports[0].Lost != 7 || len(reports[0].Emitted) != batchEmissions {
		t.Fatalf("%d reports", len(reports))
	}
	total := 0
	for i, r := range reports {
		total += len(r.Connections)
		if r.Seq != uint64(i+1) || r.Source != "test" {
			t.Errorf("report %d is number %d", i, r.Seq)
		}
	}
	if total != len(events) {
		t.Errorf("%d connections of %d", total, len(events))
	}
	if _, more, _ := b.next(start.Add(heartbeat - 1)); more {
		t.Error("says nothing, too soon")
	}
	if _, more, _ := b.next(start.Add(heartbeat)); !more {
		t.Error("is silent for too long")
	}
}

// The longest texts that there are, full of what has to be escaped.
func TestBatchIsSmallEnough(t *testing.T) {
	t.Parallel()
	b := testBatch()
	long := procfs.Text(strings.Repeat(`"<`, 300))
	for pid := range 1000 {
		b.directory.known[pid+1] = &person{Process: discover.Process{PID: pid + 1, Executable: long, Unit: long, Container: long, Package: long, Version: long}}
	}
	for i := range maxEmissions {
		b.emit(discover.Emission{Pattern: long[:128], Error: long[:256], Index: i, Opened: start, Closed: start}, emit.Claim{})
	}
	const wide = 10_000
	far := netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
	for range wide {
		b.translate(discover.Translation{Protocol: "tcp", Source: far, Destination: far, NewSource: far, NewDestination: far})
	}
	processes, emitted, translated := 0, 0, 0
	for {
		r, more, err := b.next(start)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		decoded, err := discover.Decode("host-a", r.json)
		if err != nil {
			t.Fatal(err)
		}
		processes += len(decoded.Processes)
		emitted += len(decoded.Emitted)
		translated += len(decoded.Translations)
	}
	if processes != 1000 || emitted != maxEmissions || translated != wide {
		t.Errorf("%d processes, %d emissions, %d translations", processes, emitted, translated)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	if _, _, err := choose("crystal ball", procRoot, nil); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
	failed := map[string]string{SourceTyped: "failed", SourceRaw: "failed", SourcePacket: "failed"}
	s, c, err := choose("", procRoot, failed)
	if err != nil || c.Source != SourcePoll || c.String() != "proc (not tp_btf: failed; not raw_tp: failed; not af_packet: failed)" {
		t.Error(c, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	failed[SourcePoll] = "failed"
	if _, _, err := choose("", procRoot, failed); !droveway.Is(err, droveway.Unavailable) {
		t.Error(err)
	}
}
