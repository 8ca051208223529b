package observer

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/droveway/droveway/internal/lab/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, journal io.Writer) (o *Observer, address string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o = New(journal, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- o.Run(ctx, ln) }()
	return o, ln.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func say(t *testing.T, address string, lines ...string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func await(t *testing.T, o *Observer, seq uint64) Summary {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	s, err := o.Wait(ctx, func(s Summary) bool { return s.Acknowledged() >= seq })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReportsAreNotedOverAllConnections(t *testing.T) {
	t.Parallel()
	var journal bytes.Buffer
	o, address, stop := start(t, &journal)
	a := say(t, address, `{"run":1,"boot_id":"x","first":1,"durable":0}`, `{"run":1,"boot_id":"x","first":1,"durable":10}`)
	await(t, o, 10)
	a.Close()
	b := say(t, address, `{"run":1,"boot_id":"x","first":1,"durable":12}`)
	await(t, o, 12)
	c := say(t, address, `{"run":2,"boot_id":"y","first":13,"durable":20,"wrong":1,"bad_ram":2,"error":"disk"}`)
	s := await(t, o, 20)
	stop() // with b and c still open
	b.Close()
	c.Close()
	if s.Rewound() != 0 || len(s.Boots()) != 2 || s.Wrong() != 4 {
		t.Errorf("%s: want 0 rewound, 2 boots, 4 wrong", s)
	}
	again, err := Read(&journal)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, again); d != "" {
		t.Errorf("the journal says otherwise: %s", d)
	}
}

func TestAnEarlierReportTakesNothingBack(t *testing.T) {
	t.Parallel()
	o, address, stop := start(t, nil)
	defer stop()
	defer say(t, address, `{"run":1,"first":1,"durable":12}`, `{"run":1,"first":1,"durable":10}`, `{"run":2,"first":1,"durable":13}`).Close()
	if s := await(t, o, 13); s.Runs[0].Durable != 12 {
		t.Errorf("run 1 is at %d: want 12", s.Runs[0].Durable)
	}
}

func TestARunThatBeginsTooEarlyShowsTheLoss(t *testing.T) {
	t.Parallel()
	note := func(run, first, durable uint64) Note {
		return Note{Report: record.Report{Run: run, First: first, Durable: durable}}
	}
	for _, c := range []struct {
		runs []Note
		want uint64
	}{
		{nil, 0},
		{[]Note{note(1, 1, 100)}, 0},
		{[]Note{note(1, 1, 100), note(2, 101, 200)}, 0},
		{[]Note{note(1, 1, 100), note(2, 103, 200)}, 0}, // durable, but never reported
		{[]Note{note(1, 1, 100), note(2, 96, 98), note(3, 99, 300)}, 5 + 2},
		{[]Note{note(1, 1, 100), note(2, 0, 0)}, 0}, // failed before it began
	} {
		if got := (Summary{Runs: c.runs}).Rewound(); got != c.want {
			t.Errorf("%+v: %d rewound: want %d", c.runs, got, c.want)
		}
	}
}

func TestNonsenseEndsOnlyItsConnection(t *testing.T) {
	t.Parallel()
	o, address, stop := start(t, nil)
	defer stop()
	for _, nonsense := range []string{"{", `{"run":-1}`, strings.Repeat("x", maxLine+1)} {
		conn := say(t, address, nonsense)
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the observer speaks")
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Errorf("%.10q: the connection stays open", nonsense)
		}
		conn.Close()
	}
	defer say(t, address, `{"run":1,"first":1,"durable":1}`).Close()
	await(t, o, 1)
}

func TestJournalCutShortByAKill(t *testing.T) {
	t.Parallel()
	s, err := Read(strings.NewReader("{\"run\":1,\"first\":1,\"durable\":7}\n{\"run\":1,\"fir"))
	if err != nil || s.Acknowledged() != 7 {
		t.Errorf("%s, %v: want 7 acknowledged", s, err)
	}
	if _, err := Read(strings.NewReader("nonsense\n{\"run\":1}\n")); err == nil {
		t.Error("a damaged journal was accepted")
	}
}

func FuzzListen(f *testing.F) {
	f.Add([]byte("{\"run\":1,\"first\":1,\"durable\":7}\n"))
	f.Add([]byte("{\"durable\":18446744073709551615,\"first\":1}\n{\"first\":2,\"run\":9}\n"))
	f.Add([]byte("\n\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		o := New(nil, slog.New(slog.DiscardHandler))
		// Whatever a guest says, the observer goes on.
		if err := o.listen(bytes.NewReader(b)); err == nil {
			_ = o.Summary().String()
		}
	})
}
