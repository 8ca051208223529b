//go:build lab

package probe

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// A probe in a PID namespace of its own does not name the processes outside: not
// where they share its network namespace, and nothing of them elsewhere.
func TestStrangers(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80")
	c := n.Client("a1")
	s := listen(t)
	s.until("a report", func() bool { return s.source != "" })
	hidden := c.Dial("tcp", probetest.Forward, false)
	shared := connect(t)
	s.until("both ends in the network namespace of the probe", func() bool {
		var ends int
		for _, c := range s.connections {
			if c.Local == shared || c.Remote == shared {
				ends++
			}
		}
		return ends == 2
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.connections {
		if c.PID != 0 && (c.Local == shared || c.Remote == shared) {
			t.Errorf("a process outside is named: %+v", c)
		}
		if c.Local == hidden.Local && c.Remote == hidden.Dialled || c.Direction == discover.Inbound && c.Local.Port() == 80 {
			t.Errorf("a connection of others: %+v", c)
		}
	}
}

// listen runs a probe in a PID namespace of its own and takes its reports.
func listen(t *testing.T) *server {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", self)
	c.Env = append(os.Environ(), contained+"="+t.TempDir())
	c.Stderr = os.Stderr
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if inErr != nil || outErr != nil {
		t.Fatal(inErr, outErr)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s, done := newServer(t), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, discover.MaxReport)
		for lines.Scan() {
			_ = s.Send(t.Context(), lines.Bytes()) // fails the test itself
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-done
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// connect opens and closes a connection of the test itself, and gives the
// client's address.
func connect(t *testing.T) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}
