//go:build lab

package packet

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/netns"
)

// Both ends of one connection of this machine, through the kernel's filter.
func TestSniffer(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) { sniffOne(t, address) })
	}
}

func sniffOne(t *testing.T, address string) {
	s, err := Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.Of("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan capture.Event, 10000)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(e capture.Event) { events <- e }) }()
	if err := s.Follow(map[uint32]int{ns: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	isn := map[bool]uint64{}
	closed := 0
	for timeout := time.After(3 * time.Second); len(isn) < 2 || closed < 2; {
		select {
		case e := <-events:
			if e.Local.Port() != port && e.Remote.Port() != port {
				continue
			}
			if e.Kind == capture.Opened {
				isn[e.Outbound] = e.ISN
			} else {
				closed++
			}
		case <-timeout:
			t.Fatalf("%v, %d closed", isn, closed)
		}
	}
	if isn[true] != isn[false] || s.Lost() != 0 {
		t.Errorf("%v, lost %d", isn, s.Lost())
	}
	if err := s.Follow(nil); err != nil { // the namespace is gone
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
