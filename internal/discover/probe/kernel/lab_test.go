//go:build lab

package kernel

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/capture"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Both ends of one connection on this machine, as each attachment tells of them.
func TestTracer(t *testing.T) {
	for _, how := range []Attachment{Typed, Raw} {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(string(how)+" "+address, func(t *testing.T) { traceOne(t, how, address) })
		}
	}
}

func traceOne(t *testing.T, how Attachment, address string) {
	tracer, err := Open(how)
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan capture.Event, 1000)
	done := make(chan error, 1)
	go func() { done <- tracer.Run(ctx, func(e capture.Event) { events <- e }) }()

	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := walked(port); err != nil {
		t.Error(err)
	}
	c.Close()
	time.Sleep(20 * time.Millisecond)
	s.Close()
	ln.Close()

	var out, in capture.Event
	kinds := map[capture.Kind]int{}
	for timeout := time.After(3 * time.Second); kinds[capture.Released] == 0; {
		select {
		case e := <-events:
			if int(e.Local.Port()) != port && int(e.Remote.Port()) != port {
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
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if out.ISN == 0 || out.ISN != in.ISN || out.PID != os.Getpid() {
		t.Errorf("out %+v\nin %+v", out, in)
	}
	if kinds[capture.Listening] != 1 || kinds[capture.Closed] != 2 || tracer.Lost() != 0 {
		t.Errorf("events %v, lost %d", kinds, tracer.Lost())
	}
	t.Logf("%+v %v", out, kinds)
}

func walked(port int) error {
	w, err := NewWalker()
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Walk(func(f Found) { println(f.Local.String(), f.Remote.String(), f.Inode, f.ISN(true), f.ISN(false)) })
}
