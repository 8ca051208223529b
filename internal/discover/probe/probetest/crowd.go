package probetest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// Noise is how many connections a second strangers open, who share the public
// address of a1, a2 and a3.
const Noise = 200

// longestNoise is how long a connection of noise stays open: as long as those of
// patterns, so that nothing tells them apart but their order.
const longestNoise = 340 * time.Millisecond

// Noise opens connections to addresses, in no order and for any time, until the
// test ends.
func (n *Network) Noise(addresses ...string) {
	n.t.Helper()
	n.await("noise", Stranger, addresses...)
}

// Proxy ends connections to Proxied and passes on what they say over connections
// of its own to b1: both sides have sequence numbers of their own.
func (n *Network) Proxy() {
	n.t.Helper()
	n.await("proxy", "rb", Proxied, "10.2.0.11:80")
}

// await starts a process that says when it is ready.
func (n *Network) await(role, namespace string, args ...string) int {
	n.t.Helper()
	c, out, _ := n.start(namespace, role, args...)
	if !out.Scan() {
		n.t.Fatalf("the %s in %s does not start", role, namespace)
	}
	return c.Process.Pid
}

func murmur(addresses []string) {
	tick := time.NewTicker(time.Second / Noise)
	defer tick.Stop()
	fmt.Println("ready")
	for i := 0; ; i++ {
		<-tick.C
		go func() {
			c, err := net.DialTimeout("tcp", addresses[i%len(addresses)], 3*time.Second)
			if err != nil {
				return // noise need not be whole
			}
			time.Sleep(time.Duration(rand.Int64N(int64(longestNoise))))
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c) // an unread byte would turn the close into a reset
			_ = c.Close()
		}()
	}
}

func stand(at, target string) {
	ln, err := net.Listen("tcp", at)
	must(err)
	fmt.Println("ready")
	for {
		c, err := ln.Accept()
		must(err)
		go pass(c, target)
	}
}

// pass copies both ways until either side closes.
func pass(c net.Conn, target string) {
	defer c.Close()
	d, err := net.Dial("tcp", target)
	if err != nil {
		fmt.Fprintln(os.Stderr, "probetest: proxy:", err)
		return
	}
	defer d.Close()
	go func() {
		_, _ = io.Copy(c, d)
		_ = c.Close()
	}()
	_, _ = io.Copy(d, c)
}
