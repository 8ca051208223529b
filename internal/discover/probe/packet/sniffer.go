package packet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/netns"
	"golang.org/x/sys/unix"
)

// Sniffer is a capture.Source: it reads packets in every network namespace that
// Follow was told of.
type Sniffer struct {
	proc    string
	deliver func(capture.Event)
	running sync.WaitGroup

	mu     sync.Mutex
	taps   map[uint32]*tap
	lost   uint64 // of taps that are closed
	closed bool
}

// tap is a packet socket in one namespace.
type tap struct {
	file *os.File

	mu       sync.Mutex
	follower *follower
	drops    uint64
}

// Open makes sure that packets may be read here.
func Open(proc string) (*Sniffer, error) {
	f, err := listen()
	if err != nil {
		return nil, err
	}
	return &Sniffer{proc: proc, taps: map[uint32]*tap{}}, f.Close()
}

// Run implements capture.Source.
func (s *Sniffer) Run(ctx context.Context, deliver func(capture.Event)) error {
	var one sync.Mutex // taps read side by side
	s.mu.Lock()
	s.deliver = func(e capture.Event) {
		one.Lock()
		defer one.Unlock()
		deliver(e)
	}
	for _, t := range s.taps {
		s.start(t)
	}
	s.mu.Unlock()
	<-ctx.Done()
	err := s.Close()
	s.running.Wait()
	return err
}

// Follow says which network namespaces there are, and a process in each. Sockets
// in namespaces that are gone are closed. The error tells of the namespaces that
// could not be entered; the others are followed.
func (s *Sniffer) Follow(namespaces map[uint32]int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	var errs []error
	for ns, pid := range namespaces {
		errs = append(errs, s.follow(ns, pid))
	}
	for ns, t := range s.taps {
		if _, there := namespaces[ns]; !there {
			s.lost += t.lost()
			errs = append(errs, t.file.Close())
			delete(s.taps, ns)
		}
	}
	return errors.Join(errs...)
}

func (s *Sniffer) follow(ns uint32, pid int) error {
	return netns.Inside(s.proc, pid, func() error {
		t := s.taps[ns]
		if t == nil {
			f, err := listen()
			if err != nil {
				return err
			}
			t = &tap{file: f, follower: newFollower(ns)}
			s.taps[ns] = t
			if s.deliver != nil {
				s.start(t)
			}
		}
		return t.locate()
	})
}

// start reads from a tap until it is closed.
func (s *Sniffer) start(t *tap) {
	deliver := s.deliver
	s.running.Go(func() { t.read(deliver) })
}

// locate learns which addresses are those of the namespace that the thread is in.
func (t *tap) locate() error {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list the addresses of a network namespace: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr().Unmap().WithZone("")] = true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.follower.local = local
	return nil
}

func (t *tap) read(deliver func(capture.Event)) {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return // closed
	}
	b := make([]byte, 256)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), b, 0)
			return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
		})
		if err != nil {
			return // closed
		}
		if failed != nil {
			continue // an interface went down
		}
		if e, ok := t.packet(b[:n], from); ok {
			deliver(e)
		}
	}
}

func (t *tap) packet(b []byte, from unix.Sockaddr) (capture.Event, bool) {
	link, ok := from.(*unix.SockaddrLinklayer)
	if !ok || link.Pkttype != unix.PACKET_OUTGOING && link.Pkttype != unix.PACKET_HOST {
		return capture.Event{}, false
	}
	s, ok := parse(b)
	if !ok {
		return capture.Event{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.follower.packet(s, link.Pkttype == unix.PACKET_OUTGOING, time.Now())
}

// lost asks the kernel for its drops, which it counts from the last question.
func (t *tap) lost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if raw, err := t.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
				t.drops += uint64(s.Drops)
			}
		})
	}
	return t.drops + t.follower.lost
}

// Lost implements capture.Source.
func (s *Sniffer) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	for _, t := range s.taps {
		n += t.lost()
	}
	return n
}

// Close implements capture.Source.
func (s *Sniffer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for ns, t := range s.taps {
		s.lost += t.lost()
		errs = append(errs, t.file.Close())
		delete(s.taps, ns)
	}
	return errors.Join(errs...)
}

// buffer is how many bytes of packets may wait to be read.
const buffer = 8 << 20

// listen opens a packet socket where the thread is. It gets no packet before it
// has its filter.
func listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, droveway.Errorf(droveway.Permission, "open a packet socket: run the probe as root or give it CAP_NET_RAW: %w", err)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Unsupported, "open a packet socket: %w", err)
	}
	if err := prepare(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("open a packet socket: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packets"), nil
}

func prepare(fd int) error {
	f := filter()
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return err
	}
	// The usual limit holds no more than a few hundred packets.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return err
		}
	}
	const every = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // big endian
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every})
}
