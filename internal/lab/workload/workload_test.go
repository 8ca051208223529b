package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway/internal/lab/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a region that loses what was not flushed, as a power cut does.
type memory struct {
	written, durable []byte
	fail             error
}

func newMemory(size int) *memory {
	return &memory{written: make([]byte, size), durable: make([]byte, size)}
}

func (m *memory) ReadAt(b []byte, at int64) (int, error) { return copy(b, m.written[at:]), m.fail }

func (m *memory) WriteAt(b []byte, at int64) (int, error) { return copy(m.written[at:], b), m.fail }

func (m *memory) Flush() error {
	copy(m.durable, m.written)
	return m.fail
}

func (m *memory) cut() { copy(m.written, m.durable) }

const regionSize = 64 * record.Size

// write runs a writer until it has made records up to a Seq durable.
func write(t *testing.T, m *memory, until uint64) *news {
	t.Helper()
	area, err := record.NewArea(regionSize)
	if err != nil {
		t.Fatal(err)
	}
	n := newNews(record.Report{Run: until})
	w := &writer{region: m, area: area, news: n, block: alignedBlock()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- w.run(ctx) }()
	for n.newest().Durable < until {
		select {
		case <-n.fresh:
		case err := <-done:
			t.Fatalf("the writer ended: %v", err)
		}
	}
	cancel()
	<-done
	return n
}

func TestWriterGoesOnWhereThePowerCutLeftIt(t *testing.T) {
	t.Parallel()
	m := newMemory(regionSize)
	first := write(t, m, 100).newest()
	m.cut()
	second := write(t, m, 300).newest()
	if first.First != 1 || second.First != first.Durable+1 {
		t.Errorf("runs begin at %d and %d: want 1 and %d", first.First, second.First, first.Durable+1)
	}
	if first.Wrong != 0 || second.Wrong != 0 {
		t.Errorf("%d and %d records were wrong", first.Wrong, second.Wrong)
	}
}

func TestWriterSeesWhatTheDiskForgot(t *testing.T) {
	t.Parallel()
	m := newMemory(regionSize)
	area, err := record.NewArea(regionSize)
	if err != nil {
		t.Fatal(err)
	}
	n := newNews(record.Report{})
	w := &writer{region: m, area: area, news: n, block: alignedBlock(), known: map[uint64]uint64{}}
	if err := w.write(record.Record{Seq: 1, Slot: area.Slot(1)}); err != nil {
		t.Fatal(err)
	}
	clear(m.written)
	if err := w.readBack(); err != nil {
		t.Fatal(err)
	}
	if got := n.newest().Wrong; got != 1 {
		t.Errorf("%d wrong: want 1", got)
	}
}

func TestFailedDiskIsReported(t *testing.T) {
	t.Parallel()
	m := newMemory(regionSize)
	area, err := record.NewArea(regionSize)
	if err != nil {
		t.Fatal(err)
	}
	n := newNews(record.Report{})
	w := &writer{region: m, area: area, news: n, block: alignedBlock(), known: map[uint64]uint64{}}
	m.fail = errors.New("broken")
	if err := w.write(record.Record{Seq: 1}); !errors.Is(err, m.fail) {
		t.Errorf("error %v: want the disk's", err)
	}
	if r := n.newest(); r.Durable != 0 || r.Error == "" {
		t.Errorf("%+v: want the error, and nothing durable", r)
	}
}

func TestSweepSeesAChangedPage(t *testing.T) {
	t.Parallel()
	memory := make([]byte, 8*pageSize)
	for round := range uint64(3) {
		if bad := sweep(memory, round); bad != 0 {
			t.Errorf("round %d: %d bad pages", round, bad)
		}
	}
	// One page is from the round before, two have changed places.
	sweepOne := append([]byte(nil), memory[:pageSize]...)
	copy(memory[3*pageSize:], memory[4*pageSize:5*pageSize])
	copy(memory[4*pageSize:], sweepOne)
	if bad := sweep(memory, 3); bad != 2 {
		t.Errorf("%d bad pages: want 2", bad)
	}
}

// The observer goes away and comes back: the newest report reaches it.
func TestReportsReachTheNextObserver(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	n := newNews(record.Report{Run: 1})
	n.begin(1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		report(ctx, ln.Addr().String(), n, slog.New(slog.DiscardHandler))
	}()
	// A working guest has something to say all the time, and so notices.
	go func() {
		for range time.Tick(time.Millisecond) {
			if ctx.Err() != nil {
				return
			}
			n.wrong()
		}
	}()
	for seq := uint64(1); seq <= 3; seq++ {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		n.durable(seq)
		awaitReport(t, conn, seq)
		conn.Close()
	}
	cancel()
	<-done
}

func awaitReport(t *testing.T, conn net.Conn, seq uint64) {
	t.Helper()
	for in := json.NewDecoder(bufio.NewReader(conn)); ; {
		var r record.Report
		if err := in.Decode(&r); err != nil {
			t.Fatalf("no report of %d: %v", seq, err)
		}
		if r.Durable == seq {
			return
		}
	}
}

func TestConfigTravelsInUserData(t *testing.T) {
	t.Parallel()
	want := Config{Observer: "10.20.0.1:9000", DelayMS: 5, DirtyMiB: 16, Path: "/x # y"}
	text, err := want.UserData()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseUserData([]byte(text))
	if err != nil || got != want {
		t.Errorf("%+v, %v: want %+v", got, err, want)
	}
	if got, err := ParseUserData([]byte("#cloud-config\n{}\n")); err != nil || got != (Config{}) {
		t.Errorf("user-data without a config: %+v, %v", got, err)
	}
	if _, err := ParseUserData([]byte(configMark + "{")); err == nil {
		t.Error("a damaged config was accepted")
	}
}

func FuzzParseUserData(f *testing.F) {
	f.Add([]byte("#cloud-config\n# droveway-guest: {\"observer\":\"10.0.0.1:1\",\"delay_ms\":5}\n{}\n"))
	f.Add([]byte("# droveway-guest: {"))
	f.Add([]byte("\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseUserData(b)
		if err != nil {
			return
		}
		text, err := c.UserData()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseUserData([]byte(text)); err != nil || again != c {
			t.Errorf("%+v comes back as %+v, %v", c, again, err)
		}
	})
}
