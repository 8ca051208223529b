//go:build lab

package kernel

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/pidns"
)

// Both ends of one connection of this machine, as each attachment and the walk
// tell of them.
func TestTracer(t *testing.T) {
	for _, how := range []Attachment{Typed, Raw} {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(string(how)+" "+address, func(t *testing.T) { traceOne(t, how, address) })
		}
	}
}

// In a PID namespace of its own, a probe sees the numbers of that namespace.
func TestContained(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", self, "-test.v", "-test.run", "^TestTracer$").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestTracer")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// Processes outside of the namespace have no number, and nothing more is told of
// a connection that one of them closed.
func TestStrangers(t *testing.T) {
	elsewhere := own(t)
	elsewhere.Inode = 1 // of no PID namespace
	for _, how := range []Attachment{Typed, Raw} {
		t.Run(string(how), func(t *testing.T) { traceStrangers(t, open(t, how, elsewhere)) })
	}
}

func traceStrangers(t *testing.T, tracer *Tracer) {
	events, stop := run(t, tracer)
	port, _ := converse(t, "127.0.0.1:0")
	kinds := map[capture.Kind]int{}
	for timeout := time.After(3 * time.Second); kinds[capture.Released] < 2; {
		select {
		case e := <-events:
			if e.PID != 0 {
				t.Errorf("%+v", e)
			}
			if e.Local.Port() == port || e.Remote.Port() == port {
				kinds[e.Kind]++
			}
		case <-timeout:
			t.Fatalf("no end in sight: %v", kinds)
		}
	}
	stop()
	if kinds[capture.Opened] != 2 || kinds[capture.Listening] != 1 {
		t.Error(kinds)
	}
}

func own(t *testing.T) pidns.Namespace {
	numbers, err := pidns.Of("/proc")
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

func open(t *testing.T, how Attachment, numbers pidns.Namespace) *Tracer {
	tracer, err := Open(how, numbers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracer
}

// run collects what a tracer tells until it is stopped.
func run(t *testing.T, tracer *Tracer) (events chan capture.Event, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	events = make(chan capture.Event, 10000)
	done := make(chan error, 1)
	go func() { done <- tracer.Run(ctx, func(e capture.Event) { events <- e }) }()
	return events, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func traceOne(t *testing.T, how Attachment, address string) {
	tracer := open(t, how, own(t))
	events, stop := run(t, tracer)
	port, isn := converse(t, address)
	var out, in capture.Event
	kinds := map[capture.Kind]int{}
	for timeout := time.After(3 * time.Second); kinds[capture.Released] == 0 || kinds[capture.Closed] < 2; {
		select {
		case e := <-events:
			if e.Local.Port() != port && e.Remote.Port() != port {
				continue
			}
			kinds[e.Kind]++
			switch {
			case e.Kind == capture.Opened && e.Outbound:
				out = e
			case e.Kind == capture.Opened:
				in = e
			}
		case <-timeout:
			t.Fatalf("no end in sight: %v", kinds)
		}
	}
	stop()
	if out.ISN != isn || in.ISN != isn || out.PID != os.Getpid() {
		t.Errorf("walked %x\nout %+v\nin %+v", isn, out, in)
	}
	if kinds[capture.Listening] != 1 || tracer.Lost() != 0 {
		t.Errorf("events %v, lost %d", kinds, tracer.Lost())
	}
}

// converse opens a connection, walks past it, and closes it, the client first.
func converse(t *testing.T, address string) (port uint16, isn uint64) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port = uint16(ln.Addr().(*net.TCPAddr).Port)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("bytes count in the numbers")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	isn = walked(t, port)
	c.Close()
	if _, err := s.Read(make([]byte, 1)); err == nil { // until it is closed
		t.Error("the client says something")
	}
	s.Close()
	return port, isn
}

func walked(t *testing.T, port uint16) (isn uint64) {
	w, err := NewWalker()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var other uint64
	seen := map[string]int{}
	err = w.Walk(func(f Found) {
		switch {
		case f.Listening && f.Local.Port() == port:
			seen["listener"]++
		case f.Remote.Port() == port:
			seen["client"]++
			isn = f.ISN(true)
		case f.Local.Port() == port:
			seen["server"]++
			if f.Inode == 0 {
				t.Errorf("%+v", f)
			}
			other = f.ISN(false)
		}
	})
	if err != nil || seen["listener"] != 1 || seen["client"] != 1 || seen["server"] != 1 {
		t.Errorf("%v, %v", seen, err)
	}
	if isn != other {
		t.Errorf("the ends differ: %x, %x", isn, other)
	}
	return isn
}

// What does not fit is counted.
func TestFlood(t *testing.T) {
	tracer := open(t, Typed, own(t))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range ringSize / recordSize / 4 { // each is more than four events
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		s.Close()
	}
	if tracer.Lost() == 0 {
		t.Error("nothing is lost")
	}
}
