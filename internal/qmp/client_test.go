package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hello = `{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"x"},"capabilities":["oob"]}}`

// monitor plays the other side of a connection.
type monitor struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

func (m *monitor) say(format string, args ...any) {
	m.t.Helper()
	if _, err := fmt.Fprintf(m.conn, format+"\n", args...); err != nil {
		m.t.Errorf("monitor: %v", err)
	}
}

func (m *monitor) hear() request {
	var r request
	if m.in.Scan() {
		if err := json.Unmarshal(m.in.Bytes(), &r); err != nil {
			m.t.Errorf("monitor heard %q: %v", m.in.Text(), err)
		}
	}
	return r
}

// connect gives a client and the monitor it has greeted.
func connect(t *testing.T) (*Client, *monitor) {
	t.Helper()
	here, there := net.Pipe()
	m := &monitor{t: t, conn: there, in: bufio.NewScanner(there)}
	greeted := make(chan struct{})
	go func() {
		defer close(greeted)
		m.say(hello)
		m.say(`{"return":{},"id":%d}`, m.hear().ID)
	}()
	c, err := New(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	<-greeted
	t.Cleanup(func() {
		_ = c.Close()
		_ = there.Close()
	})
	return c, m
}

func TestGreetingTellsTheVersion(t *testing.T) {
	c, _ := connect(t)
	if got := c.Version().String(); got != "7.2.22" {
		t.Errorf("version %s", got)
	}
	if !c.Version().Before(9, 0) || c.Version().Before(7, 2) {
		t.Error("7.2.22 is before 9.0 and not before 7.2")
	}
}

func TestExecute(t *testing.T) {
	c, m := connect(t)
	go func() {
		r := m.hear()
		m.say(`{"return":{"status":%q},"id":%d}`, r.Execute, r.ID)
	}()
	var got struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", nil, &got); err != nil || got.Status != "query-status" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusalHasAKind(t *testing.T) {
	for class, want := range map[string]droveway.Kind{
		"GenericError":    droveway.Conflict,
		"CommandNotFound": droveway.Unsupported,
		"DeviceNotFound":  droveway.NotFound,
	} {
		c, m := connect(t)
		go func() { m.say(`{"error":{"class":%q,"desc":"why"},"id":%d}`, class, m.hear().ID) }()
		err := c.Execute(t.Context(), "x", nil, nil)
		if !droveway.Is(err, want) || !Refused(err) || !strings.Contains(err.Error(), "why") {
			t.Errorf("%s: %v of kind %s", class, err, droveway.KindOf(err))
		}
	}
}

// A response that comes when its command has been given up belongs to nobody.
func TestLateResponseIsNotTakenForTheNext(t *testing.T) {
	c, m := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan request)
	go func() { heard <- m.hear() }()
	failed := make(chan error)
	go func() { failed <- c.Execute(ctx, "first", nil, nil) }()
	first := <-heard
	cancel()
	if err := <-failed; !droveway.Is(err, droveway.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	go func() {
		second := m.hear()
		m.say(`{"return":"first","id":%d}`, first.ID)
		m.say(`{"return":"second","id":%d}`, second.ID)
	}()
	var got string
	if err := c.Execute(t.Context(), "second", nil, &got); err != nil || got != "second" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestMonitorThatReadsNoMoreHoldsNobody(t *testing.T) {
	c, m := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Execute(ctx, "x", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	go func() { m.say(`{"return":{},"id":%d}`, m.hear().ID) }()
	if err := c.Execute(t.Context(), "y", nil, nil); err != nil {
		t.Errorf("nothing was on the wire, yet: %v", err)
	}
}

func TestHalfACommandEndsTheConnection(t *testing.T) {
	c, m := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = m.conn.Read(make([]byte, 3))
		cancel()
	}()
	if err := c.Execute(ctx, "x", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-c.Done()
}

func TestLostConnectionFailsCommandsAndEndsEvents(t *testing.T) {
	c, m := connect(t)
	events, cancel := c.Events()
	defer cancel()
	go func() {
		m.hear()
		_ = m.conn.Close()
	}()
	if err := c.Execute(t.Context(), "x", nil, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Error(err)
	}
	if _, ok := <-events; ok {
		t.Error("an event from a lost connection")
	}
	if late, _ := c.Events(); len(late) != 0 {
		t.Error("a lost connection has events")
	}
}

func TestEvents(t *testing.T) {
	c, m := connect(t)
	events, cancel := c.Events()
	go m.say(`{"event":"STOP","timestamp":{"seconds":1,"microseconds":5},"data":{"a":1}}`)
	e := <-events
	if e.Name != "STOP" || string(e.Data) != `{"a":1}` || e.Time.UnixMicro() != 1000005 {
		t.Errorf("%+v", e)
	}
	cancel()
	cancel()
	if _, ok := <-events; ok {
		t.Error("an event after the end of the subscription")
	}
}

func TestSlowReaderLosesTheOldest(t *testing.T) {
	s := &subscription{ch: make(chan Event, backlog)}
	for i := range backlog + 3 {
		s.push(Event{Name: fmt.Sprint(i)})
	}
	if first := <-s.ch; first.Name != "3" {
		t.Errorf("the oldest left is %s, want 3", first.Name)
	}
}

func TestGarbageEndsTheConnection(t *testing.T) {
	c, m := connect(t)
	m.say("no JSON")
	<-c.Done()
	if err := c.Execute(t.Context(), "x", nil, nil); err == nil || !strings.Contains(err.Error(), "no QMP message") {
		t.Error(err)
	}
}

func TestDial(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, strings.Repeat("d", 60))
	for _, path := range []string{filepath.Join(dir, "q"), filepath.Join(deep, "q")} {
		serve(t, path)
		c, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if _, err := Dial(t.Context(), filepath.Join(dir, "none")); !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
}

// The monitor serves one client at a time; the next one gets no greeting.
func TestDialGivesUpOnABusyMonitor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, path); !droveway.Is(err, droveway.Unavailable) {
		t.Error(err)
	}
}
