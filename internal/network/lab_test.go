//go:build lab

package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// place is a host in a network namespace of its own. Everything that is done in
// it runs on one thread, which stays there.
type place struct {
	t    *testing.T
	work chan func()
	m    *Manager
}

func newPlace(t *testing.T, address string) *place {
	p := &place{t: t, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		ready <- err
		for f := range p.work {
			f()
		}
		ns.Close()
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make a network namespace (needs root): %v", err)
	}
	t.Cleanup(func() { close(p.work) })
	p.m = New(Config{Address: netip.MustParseAddr(address), Log: slog.New(slog.DiscardHandler)})
	return p
}

// in runs f in the place.
func (p *place) in(f func() error) {
	p.t.Helper()
	done := make(chan error)
	p.work <- func() { done <- f() }
	if err := <-done; err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) handle() (h netns.NsHandle) {
	p.in(func() (err error) { h, err = netns.Get(); return err })
	return h
}

func (p *place) setUp(link, address string) {
	p.in(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}

// newUnderlay makes three hosts 10.99.0.1 … 3 around a switch.
func newUnderlay(t *testing.T) (hosts [3]*place) {
	fabric := newPlace(t, "10.99.0.254")
	fabric.in(func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "switch"}}); err != nil {
			return err
		}
		// The lab's underlay must not filter what it carries.
		return isolate("switch")
	})
	for i := range hosts {
		address := netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}).String()
		hosts[i] = newPlace(t, address)
		peer := hosts[i].handle()
		fabric.in(func() error {
			port := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: "port" + address[len(address)-1:], MTU: 1550},
				PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(peer)),
			}
			if err := netlink.LinkAdd(port); err != nil {
				return err
			}
			sw, err := netlink.LinkByName("switch")
			if err != nil {
				return err
			}
			return plug(port, sw)
		})
		hosts[i].setUp("eth0", address+"/24")
	}
	fabric.in(func() error {
		sw, err := netlink.LinkByName("switch")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(sw)
	})
	return hosts
}

func network(name string, vni uint32) droveway.Network {
	return droveway.Network{Meta: droveway.Meta{Name: name}, Subnet: netip.MustParsePrefix("10.20.0.0/16"), VNI: vni}
}

var (
	everybody = []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")}
	blue      = network("blue", 77)
	red       = network("red", 78)
)

func (p *place) ensure(n droveway.Network, peers []netip.Addr) {
	p.t.Helper()
	p.in(func() error { return p.m.Ensure(context.Background(), n, peers) })
}

// tap is a machine's card on a place; the test speaks for the machine.
func (p *place) tap(vni uint32, name string) *os.File {
	p.t.Helper()
	var tap *os.File
	p.in(func() (err error) { tap, err = p.m.TAP(context.Background(), vni, name); return err })
	p.t.Cleanup(func() { tap.Close() })
	return tap
}

const vnetHeader = 10

func speak(t *testing.T, tap *os.File, frame []byte) {
	t.Helper()
	if _, err := tap.Write(append(make([]byte, vnetHeader), frame...)); err != nil {
		t.Fatal(err)
	}
}

// hears waits for a frame on a descriptor that f accepts.
func hears(t *testing.T, fd int, skip int, within time.Duration, f func([]byte) bool) bool {
	t.Helper()
	buf := make([]byte, 4096)
	for end := time.Now().Add(within); ; {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err == unix.EINTR || n == 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		size, err := unix.Read(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if size > skip && f(buf[skip:size]) {
			return true
		}
	}
}

func tapHears(t *testing.T, tap *os.File, within time.Duration, frame []byte) bool {
	t.Helper()
	return hears(t, int(tap.Fd()), vnetHeader, within, func(b []byte) bool { return bytes.HasPrefix(b, frame) })
}

// capture opens a packet socket on a place's underlay.
func (p *place) capture() int {
	var fd int
	p.in(func() (err error) {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Attrs().Index})
	})
	p.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func ethernet(dst, src net.HardwareAddr, payload string) []byte {
	f := append(append([]byte{}, dst...), src...)
	f = append(f, 0x88, 0xb5) // IEEE 802 local experimental
	return append(f, payload+string(make([]byte, 60))...)
}

var (
	macA = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0xb}
)

// SYSTEMS 1.7
func TestMachinesOfOneNetworkMeetAndOthersSeeNothing(t *testing.T) {
	hosts := newUnderlay(t)
	for _, h := range hosts {
		h.ensure(blue, everybody)
		h.ensure(red, everybody)
	}
	a, b := hosts[0].tap(77, "tap-a"), hosts[1].tap(77, "tap-b")
	other := hosts[1].tap(78, "tap-r")
	underlay := hosts[1].capture()

	frame := ethernet(macB, macA, "hello from blue")
	speak(t, a, frame)
	if !tapHears(t, b, 2*time.Second, frame) {
		t.Error("a frame did not cross to the machine on the other host")
	}
	if !hears(t, underlay, 0, 2*time.Second, func(p []byte) bool { return encapsulates(p, 77, frame) }) {
		t.Error("the underlay carried no VXLAN packet of VNI 77 with the frame in it")
	}
	if tapHears(t, other, 300*time.Millisecond, frame) {
		t.Error("a machine of another network saw the frame")
	}
	reply := ethernet(macA, macB, "hello back")
	speak(t, b, reply)
	if !tapHears(t, a, 2*time.Second, reply) {
		t.Error("the answer did not cross")
	}
}

// encapsulates reports whether a packet of the underlay is UDP to the VXLAN port
// with this VNI around this frame.
func encapsulates(p []byte, vni uint32, frame []byte) bool {
	const ip, udp, vxlan = 14, 14 + 20, 14 + 20 + 8
	if len(p) < vxlan+8 || p[ip+9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(p[udp+2:]) != Port {
		return false
	}
	return binary.BigEndian.Uint32(p[vxlan+4:])>>8 == vni && bytes.HasPrefix(p[vxlan+8:], frame)
}

func TestHostIsNotReachableFromAMachine(t *testing.T) {
	hosts := newUnderlay(t)
	hosts[0].ensure(blue, everybody)
	a := hosts[0].tap(77, "tap-a")
	var bridge net.HardwareAddr
	hosts[0].in(func() error {
		l, err := netlink.LinkByName("dw-77")
		bridge = l.Attrs().HardwareAddr
		return err
	})
	var fd int
	hosts[0].in(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 7443, Addr: [4]byte{10, 99, 0, 1}})
	})
	defer unix.Close(fd)
	// To the host's underlay address, at the bridge's MAC.
	speak(t, a, datagram(bridge, macA, [4]byte{10, 20, 0, 5}, [4]byte{10, 99, 0, 1}, 7443))
	if hears(t, fd, 0, 300*time.Millisecond, func([]byte) bool { return true }) {
		t.Error("a machine reached the host's underlay address")
	}
}

func datagram(dst, src net.HardwareAddr, from, to [4]byte, port uint16) []byte {
	payload := "knock"
	ip := []byte{0x45, 0, 0, byte(28 + len(payload)), 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	ip = append(append(ip, from[:]...), to[:]...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	udp := binary.BigEndian.AppendUint16([]byte{0x30, 0x39}, port)
	udp = append(udp, 0, byte(8+len(payload)), 0, 0) // no checksum
	return slices.Concat(dst, src, []byte{8, 0}, ip, udp, []byte(payload))
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return ^uint16(sum + sum>>16)
}

// learned tells where a host's VXLAN sends frames for a MAC.
func (p *place) learned(mac net.HardwareAddr) (where string) {
	p.in(func() error {
		link, err := netlink.LinkByName("dwx-77")
		if err != nil {
			return err
		}
		entries, err := forwarding(link)
		for _, e := range entries {
			if bytes.Equal(e.HardwareAddr, mac) {
				where = e.IP.String()
			}
		}
		return err
	})
	return where
}

func TestAnnounceTellsTheNetworkTheNewPlace(t *testing.T) {
	hosts := newUnderlay(t)
	for _, h := range hosts {
		h.ensure(blue, everybody)
	}
	old, client := hosts[0].tap(77, "tap-old"), hosts[2].tap(77, "tap-c")
	speak(t, old, arp(arpRequest, macA, netip.MustParseAddr("10.20.0.5")))
	if !tapHears(t, client, 2*time.Second, []byte{0xff}) {
		t.Fatal("the machine was not heard at its old place")
	}
	if got := hosts[2].learned(macA); got != "10.99.0.1" {
		t.Fatalf("before the move the client's host sends to %q: want 10.99.0.1", got)
	}

	now := hosts[1].tap(77, "tap-new")
	hosts[1].in(func() error {
		return hosts[1].m.Announce(context.Background(), 77, macA.String(), netip.MustParseAddr("10.20.0.5"))
	})
	if !tapHears(t, client, 2*time.Second, arp(arpReply, macA, netip.MustParseAddr("10.20.0.5"))) {
		t.Error("the gratuitous ARP did not reach the client")
	}
	if got := hosts[2].learned(macA); got != "10.99.0.2" {
		t.Errorf("after the announcement the client's host sends to %q: want 10.99.0.2", got)
	}
	if got := hosts[1].learned(macA); got != "" {
		t.Errorf("the new host still sends to %q", got)
	}
	frame := ethernet(macA, macB, "to the new place")
	speak(t, client, frame)
	if !tapHears(t, now, 2*time.Second, frame) {
		t.Error("a frame for the machine did not reach its new place, before it spoke itself")
	}
}

func (p *place) floods() (peers []string) {
	p.in(func() error {
		link, err := netlink.LinkByName("dwx-77")
		if err != nil {
			return err
		}
		entries, err := forwarding(link)
		for _, e := range entries {
			peers = append(peers, e.IP.String())
		}
		slices.Sort(peers)
		return err
	})
	return peers
}

func TestEnsureMayBeRepeatedAndFollowsThePeers(t *testing.T) {
	hosts := newUnderlay(t)
	h := hosts[0]
	for _, step := range []struct {
		peers []netip.Addr
		want  []string
	}{
		{everybody, []string{"10.99.0.2", "10.99.0.3"}},
		{everybody, []string{"10.99.0.2", "10.99.0.3"}},
		{everybody[:2], []string{"10.99.0.2"}},
		{nil, nil},
		{append(everybody[2:], everybody[2]), []string{"10.99.0.3"}},
	} {
		h.ensure(blue, step.peers)
		if got := h.floods(); !slices.Equal(got, step.want) {
			t.Errorf("peers %v: floods to %v: want %v", step.peers, got, step.want)
		}
	}
	var mtu int
	h.in(func() error {
		l, err := netlink.LinkByName("dw-77")
		mtu = l.Attrs().MTU
		return err
	})
	if mtu != 1500 {
		t.Errorf("MTU %d on an underlay of 1550: want 1500", mtu)
	}
}

func TestMachinesOfANetworkMayStartTogether(t *testing.T) {
	h := newUnderlay(t)[0]
	ns := h.handle()
	for vni := range uint32(20) {
		n := network("n", vni+1)
		done, start := make(chan error), make(chan struct{})
		var ready sync.WaitGroup
		for range 8 {
			ready.Add(1)
			go func() {
				runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
				err := netns.Set(ns)
				ready.Done()
				<-start
				if err == nil {
					err = h.m.Ensure(context.Background(), n, everybody)
				}
				done <- err
			}()
		}
		ready.Wait()
		close(start)
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	hosts := newUnderlay(t)
	h := hosts[0]
	list := func() (names []string) {
		h.in(func() error {
			links, err := netlink.LinkList()
			for _, l := range links {
				names = append(names, l.Attrs().Name)
			}
			return err
		})
		return names
	}
	before := list()
	h.ensure(blue, everybody)
	h.tap(77, "tap-a").Close()
	for range 2 {
		h.in(func() error { return h.m.Remove(context.Background(), 77) })
	}
	if after := list(); !slices.Equal(before, after) {
		t.Errorf("links %v: want %v", after, before)
	}
}

func TestRefusals(t *testing.T) {
	hosts := newUnderlay(t)
	ctx := context.Background()
	hosts[0].in(func() error {
		m := hosts[0].m
		if _, err := m.TAP(ctx, 99, "tap-a"); !droveway.Is(err, droveway.NotFound) {
			t.Errorf("tap without a bridge: %v", err)
		}
		if err := m.Announce(ctx, 99, macA.String(), everybody[0]); !droveway.Is(err, droveway.NotFound) {
			t.Errorf("announce without a bridge: %v", err)
		}
		if err := m.Announce(ctx, 99, "macA", everybody[0]); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("announce nonsense: %v", err)
		}
		if err := m.Ensure(ctx, droveway.Network{}, nil); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("network without a name: %v", err)
		}
		stranger := New(Config{Address: netip.MustParseAddr("192.0.2.1"), Log: slog.New(slog.DiscardHandler)})
		if err := stranger.Ensure(ctx, blue, nil); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("address of another host: %v", err)
		}
		return nil
	})
	hosts[0].ensure(blue, nil)
	hosts[0].tap(77, "tap-a")
	hosts[0].in(func() error {
		if _, err := hosts[0].m.TAP(ctx, 77, "tap-a"); !droveway.Is(err, droveway.Conflict) {
			t.Errorf("tap that is in use: %v", err)
		}
		if _, err := hosts[0].m.TAP(ctx, 77, "a-name-that-is-far-too-long"); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("long tap name: %v", err)
		}
		return nil
	})
}
