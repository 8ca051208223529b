// Package probetest makes networks with address translation out of namespaces,
// and runs clients and servers in them that tell who really talked to whom. For
// tests; it needs root, ip(8) and nft(8).
package probetest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The addresses of the network.
const (
	Forward  = "203.0.113.2:8080" // goes to b1, port 80
	Balanced = "203.0.113.2:8081" // goes to b1 and b2 in turn, port 80
	Datagram = "203.0.113.2:5300" // goes to b1, UDP port 53
	Outside  = "203.0.113.2:"     // and a port: nobody is there
	Proxied  = "203.0.113.2:8090" // where Proxy listens; goes to b1, port 80
	Rotated  = "203.0.113.21"     // of ra, after Rotate
)

// Network is a set of namespaces:
//
//	a1 a2 a3 x ── ra ──┐
//	                   core ── rb ── b1 b2
//	c1 ── rd ── rc ────┤
//	c2 ── re ──┘
//
// ra, rc, rd and re masquerade; rb forwards to b1 and b2. rc is a carrier's
// translator with the homes rd and re behind it. a1, c1 and c2 have the same
// address. Nobody watches x.
type Network struct {
	t      T
	prefix string
}

// T is what the network needs of a test, so that whatever is not one can be it.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Stranger is where noise comes from.
const Stranger = "x"

// New makes the network; the test takes it down.
func New(t T) *Network {
	t.Helper()
	n := &Network{t, fmt.Sprintf("dwp%d-", os.Getpid()%10000)}
	t.Cleanup(n.down)
	for _, name := range n.names() {
		n.run("ip", "netns", "add", n.Namespace(name))
	}
	n.batch()
	for _, r := range []string{"ra", "rb", "rc", "rd", "re"} {
		n.masquerade(r)
	}
	n.forward()
	return n
}

func (n *Network) names() []string {
	return []string{"core", "ra", "rb", "rc", "rd", "re", "a1", "a2", "a3", Stranger, "b1", "b2", "c1", "c2"}
}

// Namespace is the name that ip-netns(8) knows.
func (n *Network) Namespace(name string) string { return n.prefix + name }

func (n *Network) down() {
	for _, name := range n.names() {
		_ = exec.Command("ip", "netns", "del", n.Namespace(name)).Run() // was not made
	}
}

// batch makes all links: an ip process for each would take longer than the test.
func (n *Network) batch() {
	in := map[string][]string{}
	add := func(ns, format string, args ...any) { in[ns] = append(in[ns], fmt.Sprintf(format, args...)) }
	for _, name := range n.names() {
		add(name, "link set lo up")
	}
	for _, b := range []struct{ ns, address string }{
		{"core", ""},
		{"ra", "10.1.0.254/24"},
		{"rb", "10.2.0.254/24"},
		{"rc", "100.64.0.254/24"},
		{"rd", "10.1.0.254/24"},
		{"re", "10.1.0.254/24"},
	} {
		add(b.ns, "link add lan type bridge")
		add(b.ns, "link set lan up")
		if b.address != "" {
			add(b.ns, "address add %s dev lan", b.address)
		}
	}
	for _, w := range []struct{ ns, at, address, via string }{
		{"ra", "core", "203.0.113.1/24", ""},
		{"rb", "core", "203.0.113.2/24", ""},
		{"rc", "core", "203.0.113.3/24", ""},
		{"rd", "rc", "100.64.0.1/24", "100.64.0.254"},
		{"re", "rc", "100.64.0.2/24", "100.64.0.254"},
		{"a1", "ra", "10.1.0.11/24", "10.1.0.254"},
		{"a2", "ra", "10.1.0.12/24", "10.1.0.254"},
		{"a3", "ra", "10.1.0.13/24", "10.1.0.254"},
		{Stranger, "ra", "10.1.0.99/24", "10.1.0.254"},
		{"b1", "rb", "10.2.0.11/24", "10.2.0.254"},
		{"b2", "rb", "10.2.0.12/24", "10.2.0.254"},
		{"c1", "rd", "10.1.0.11/24", "10.1.0.254"}, // as a1: private addresses are used again
		{"c2", "re", "10.1.0.11/24", "10.1.0.254"},
	} {
		add(w.at, "link add l-%s type veth peer name wan netns %s", w.ns, n.Namespace(w.ns))
		add(w.at, "link set l-%s master lan up", w.ns)
		add(w.ns, "address add %s dev wan", w.address)
		add(w.ns, "link set wan up")
		if w.via != "" {
			add(w.ns, "route add default via %s", w.via)
		}
	}
	// Each link is made where its other end is, before that end is set up.
	for _, name := range n.names() {
		n.Run(name, strings.Join(in[name], "\n"), "ip", "-batch", "-")
		// Where the kernel can, a bridge would translate addresses by itself, and
		// drop what goes back to where it came from.
		n.Run(name, "", "sysctl", "-eqw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=0")
	}
}

func (n *Network) masquerade(router string) {
	n.Run(router, `table ip nat {
	chain post { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
}`, "nft", "-f", "-")
}

func (n *Network) forward() {
	n.Run("rb", `table ip inward {
	chain pre { type nat hook prerouting priority dstnat;
		ip daddr 203.0.113.2 tcp dport 8080 dnat to 10.2.0.11:80
		ip daddr 203.0.113.2 tcp dport 8081 dnat to numgen inc mod 2 map { 0 : 10.2.0.11 . 80, 1 : 10.2.0.12 . 80 }
		ip daddr 203.0.113.2 udp dport 5300 dnat to 10.2.0.11:53
	}
}`, "nft", "-f", "-")
}

// Rotate gives ra another public address.
func (n *Network) Rotate() {
	n.Run("ra", "", "ip", "address", "add", Rotated+"/24", "dev", "wan")
	n.Run("ra", `table ip rotated {
	chain post { type nat hook postrouting priority srcnat - 10; ip saddr 10.1.0.0/24 oifname "wan" snat to `+Rotated+`; }
}`, "nft", "-f", "-")
}

// Hairpin lets b1 and b2 reach each other by their public address.
func (n *Network) Hairpin() {
	n.Run("rb", `table ip hairpin {
	chain post { type nat hook postrouting priority srcnat; ip saddr 10.2.0.0/24 oifname "lan" masquerade; }
}`, "nft", "-f", "-")
}

// Count counts packets of TCP flags that leave a namespace for a port of 203.0.113.2.
func (n *Network) Count(name string, port int) {
	n.Run(name, fmt.Sprintf(`table ip count {
	counter syn { }
	counter rst { }
	counter data { }
	chain out { type filter hook output priority 0;
		ip daddr 203.0.113.2 tcp dport %d tcp flags & (syn|ack) == syn counter name syn
		ip daddr 203.0.113.2 tcp dport %d tcp flags & rst == rst counter name rst
		ip daddr 203.0.113.2 tcp dport %d tcp flags & psh == psh counter name data
	}
}`, port, port, port), "nft", "-f", "-")
}

// Counted gives what Count counted, by name, and ends it.
func (n *Network) Counted(name string) map[string]int {
	n.t.Helper()
	out := n.Run(name, "", "nft", "list", "counters", "table", "ip", "count")
	n.Run(name, "", "nft", "delete", "table", "ip", "count")
	counts := map[string]int{}
	var current string
	words := strings.Fields(out)
	for i, w := range words[:len(words)-1] {
		switch w {
		case "counter":
			current = words[i+1]
		case "packets":
			counts[current], _ = strconv.Atoi(words[i+1]) // the words before say that it is a number
		}
	}
	return counts
}

// Run runs a program in a namespace and gives what it writes.
func (n *Network) Run(name, stdin string, args ...string) string {
	n.t.Helper()
	c := n.Command(context.Background(), name, args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Program runs a server that is not ours in a namespace until the test ends; what it
// says goes to out.
func (n *Network) Program(name string, out io.Writer, args ...string) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := n.Command(ctx, name, args...)
	c.Stdout, c.Stderr = out, out
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) } // their children end too
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		cancel()
		n.t.Fatalf("%s: %v: run scripts/setup", args, err)
	}
	n.t.Cleanup(func() {
		cancel()
		_ = c.Wait() // of a signal
	})
}

// Command prepares a program to run in a namespace.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + n.Namespace(name), "--"}, args...)...)
}

func (n *Network) run(args ...string) {
	n.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
