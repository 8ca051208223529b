//go:build lab

package probe

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// A process that connects once and is soon gone is named all the same, with its
// package, and one in a namespace made after the probe too.
func TestShortLivedProcess(t *testing.T) {
	_, s, _ := begin(t, Config{})
	n := probetest.New(t)
	n.Server("b1", "tcp/:80")
	n.Run("a1", "", "bash", "-c", "exec 3<>/dev/tcp/203.0.113.2/8080; read -u 3; read -u 3 -t 0.2; true")
	s.until("bash with its package", func() bool {
		for _, c := range s.connections {
			p := s.processes[c.PID]
			if c.Direction == discover.Outbound && c.Remote.String() == probetest.Forward && strings.HasSuffix(p.Executable, "/bash") {
				return p.Package == "bash" && p.Version != "" && p.Start != 0
			}
		}
		return false
	})
}

// SYSTEMS 3.3: two clients on one host to two servers on one host.
func TestProcessesOfOneHost(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80", "tcp/[::1]:8443")
	n.Server("b1", "tcp/:81", "udp/:53")
	n.Run("rb", "table ip more {\n chain pre { type nat hook prerouting priority dstnat - 1; ip daddr 203.0.113.2 tcp dport 8082 dnat to 10.2.0.11:81; }\n}\n", "nft", "-f", "-")
	one, two := n.Client("a1"), n.Client("a1")
	six := n.Client("b1")
	_, s, _ := begin(t, Config{})
	all := []probetest.Truth{
		one.Dial("tcp", probetest.Forward, true), two.Dial("tcp", "203.0.113.2:8082", false),
		six.Dial("tcp", "[::1]:8443", false),
	}
	s.until("both connections", func() bool {
		for _, truth := range all {
			if _, _, ok := s.ends(truth); !ok {
				return false
			}
		}
		return true
	})
	for _, truth := range all {
		s.check(truth, SourceTyped)
	}
	if all[0].Server == all[1].Server || all[0].Client == all[1].Client {
		t.Errorf("%+v", all)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.listeners[netip.MustParseAddrPort("[::1]:8443")]; got != all[2].Server {
		t.Errorf("listener of %d is reported for %d", all[2].Server, got)
	}
}

// UDP has no events: the surveys find what is there.
func TestDatagrams(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "udp/:53")
	truth := n.Client("a1").Dial("udp", probetest.Datagram, true)
	_, s, _ := begin(t, Config{})
	s.until("the UDP flow and its listener", func() bool {
		for _, c := range s.connections {
			if c.Protocol == "udp" && c.Local == truth.Local && c.Remote == truth.Dialled {
				return c.PID == truth.Client && c.Direction == discover.Outbound && s.listeners[netip.MustParseAddrPort("[::]:53")] == truth.Server
			}
		}
		return false
	})
}

// The last source sees what is open for some time.
func TestPoll(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80")
	truth := n.Client("a1").Dial("tcp", probetest.Forward, true)
	_, s, _ := begin(t, Config{Source: SourcePoll})
	s.until("both ends", func() bool {
		var out, in bool
		for _, c := range s.connections {
			out = out || c.PID == truth.Client && c.Local == truth.Local && c.Direction == discover.Outbound
			in = in || c.PID == truth.Server && c.Local.String() == "10.2.0.11:80" && c.Direction == discover.Inbound
		}
		return out && in
	})
}

// Without privileges the next best source is used, and the reasons are told.
func TestPrivileges(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tt := range []struct{ bounds, want, why string }{
		{"-all", SourcePoll, "CAP_BPF"},
		{"-all,+net_raw", SourcePacket, "CAP_BPF"},
		{"-all,+bpf,+perfmon", SourceTyped, ""},
	} {
		got, log := chosen(t, "setpriv", "--inh-caps=-all", "--bounding-set="+tt.bounds, "--")
		if got.Source != tt.want || !strings.Contains(got.Better[SourceTyped], tt.why) || (got.Walker == "") != (tt.why == "") {
			t.Errorf("%s: %+v", tt.bounds, got)
		}
		if tt.why != "" && !strings.Contains(log, "a better source of connections does not work here") {
			t.Errorf("nobody is told:\n%s", log)
		}
		t.Log(got)
	}
}

// A kernel that does not say how its structures lie leaves the packets.
func TestWithoutBTF(t *testing.T) {
	got, log := chosen(t, "unshare", "--mount", "--", "sh", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$0"`)
	if got.Source != SourcePacket || !strings.Contains(got.Better[SourceTyped], "BTF") || !strings.Contains(got.Better[SourceRaw], "BTF") || got.Walker == "" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(log, "a better source of connections does not work here") {
		t.Errorf("nobody is told:\n%s", log)
	}
}

// chosen runs a probe by way of other programs and gives what it chose, and its
// log.
func chosen(t *testing.T, by ...string) (Choice, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(by[0], append(by[1:], self)...)
	c.Env = append(os.Environ(), unprivileged+"="+filepath.Join(t.TempDir(), "dir"))
	var log bytes.Buffer
	c.Stderr = &log
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	var got Choice
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	return got, log.String()
}
