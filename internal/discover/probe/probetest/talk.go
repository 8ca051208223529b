package probetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// role tells the test's own program to be a client or a server.
const role = "PROBETEST_ROLE"

// Truth is a connection as its ends know it.
type Truth struct {
	Client, Server int // processes
	Local, Dialled netip.AddrPort
}

// Main is the TestMain of packages that talk: in a child process it is the client
// or the server, and does not return.
func Main() {
	switch os.Getenv(role) {
	case "server":
		serve(os.Args[1:])
	case "client":
		obey(os.Stdin, os.Stdout)
	case "proxy":
		stand(os.Args[1], os.Args[2])
	case "noise":
		murmur(os.Args[1:])
	default:
		return
	}
	os.Exit(0)
}

// Server starts a server on addresses in a namespace: "tcp/:80", "udp/:53".
func (n *Network) Server(name string, addresses ...string) int {
	n.t.Helper()
	return n.await("server", name, addresses...)
}

// Client is a process that dials when told.
type Client struct {
	PID  int
	host string
	n    *Network
	in   io.Writer
	out  *bufio.Scanner
}

// Client starts a client in a namespace.
func (n *Network) Client(name string) *Client {
	n.t.Helper()
	c, out, in := n.start(name, "client")
	return &Client{c.Process.Pid, name, n, in, out}
}

// Dial opens a connection, and closes it if it is not to be held.
func (c *Client) Dial(network, address string, hold bool) Truth {
	c.n.t.Helper()
	if _, err := fmt.Fprintln(c.in, network, address, hold); err != nil {
		c.n.t.Fatalf("%v", err)
	}
	var truth Truth
	if !c.out.Scan() || json.Unmarshal(c.out.Bytes(), &truth) != nil {
		c.n.t.Fatalf("%s cannot dial %s: %q", c.host, address, c.out.Text())
	}
	return truth
}

func (n *Network) start(name, as string, args ...string) (*exec.Cmd, *bufio.Scanner, io.Writer) {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := n.Command(ctx, name, append([]string{self}, args...)...)
	c.Env = append(os.Environ(), role+"="+as)
	c.Stderr = os.Stderr
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if inErr != nil || outErr != nil {
		n.t.Fatalf("%v, %v", inErr, outErr)
	}
	if err := c.Start(); err != nil {
		n.t.Fatalf("%v", err)
	}
	n.t.Cleanup(func() {
		cancel()
		_ = c.Wait() // it was killed
	})
	return c, bufio.NewScanner(out), in
}

// serve answers with who it is and waits for the end.
func serve(addresses []string) {
	for _, a := range addresses {
		network, at, _ := strings.Cut(a, "/")
		if network == "udp" {
			p, err := net.ListenPacket("udp", at)
			must(err)
			go answer(p)
			continue
		}
		ln, err := net.Listen("tcp", at)
		must(err)
		go accept(ln)
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	must(err)
}

func accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		must(err)
		go func() {
			defer c.Close()
			fmt.Fprintln(c, os.Getpid())
			_, _ = io.Copy(io.Discard, c) // until the client closes, however
		}()
	}
}

func answer(p net.PacketConn) {
	b := make([]byte, 100)
	for {
		_, from, err := p.ReadFrom(b)
		must(err)
		_, err = p.WriteTo(fmt.Appendln(nil, os.Getpid()), from)
		must(err)
	}
}

// obey dials what it reads: network, address, whether to hold.
func obey(in io.Reader, out io.Writer) {
	lines := bufio.NewScanner(in)
	var held []net.Conn
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		c, err := net.DialTimeout(words[0], words[1], 3*time.Second)
		must(err)
		_, err = c.Write([]byte("who are you?\n"))
		must(err)
		line, err := bufio.NewReader(c).ReadString('\n')
		must(err)
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		must(err)
		truth := Truth{
			Client: os.Getpid(), Server: pid,
			Local: netip.MustParseAddrPort(c.LocalAddr().String()), Dialled: netip.MustParseAddrPort(words[1]),
		}
		if words[2] == "true" {
			held = append(held, c)
		} else {
			must(c.Close())
		}
		must(json.NewEncoder(out).Encode(truth))
	}
	for _, c := range held {
		must(c.Close())
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probetest:", err)
		os.Exit(1)
	}
}
