package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame that crossed a link.
type Frame struct {
	At   time.Time // by the kernel's clock
	Link string
	Out  bool // it left the namespace by this link
	Data []byte
}

const (
	captureBuffer = 64 << 20 // bytes of frames that wait to be looked at
	captureWait   = 100 * time.Millisecond
	longestFrame  = 64<<10 + 64 // the kernel hands on what it will cut only later
)

// Capture shows each frame that crosses a link of a namespace, until stop is
// called, which tells how many frames were missed because each was slow. A
// frame's data are valid during the call only.
func (l *Lab) Capture(namespace string, each func(Frame)) (stop func() (missed uint32, err error), err error) {
	var fd int
	if err = inside(namespace, func() (err error) { fd, err = listenAll(); return err }); err != nil {
		return nil, fmt.Errorf("capture in namespace %s: %w", namespace, err)
	}
	var end atomic.Pointer[time.Time]
	done := make(chan error, 1)
	go func() { done <- capture(namespace, fd, &end, each) }()
	stop = sync.OnceValues(func() (uint32, error) {
		defer unix.Close(fd)
		now := time.Now()
		end.Store(&now)
		err := <-done
		s, serr := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err := errors.Join(err, serr); err != nil {
			return 0, err
		}
		return s.Drops, nil
	})
	return stop, nil
}

// listenAll opens a packet socket for all links of the namespace that the thread
// is in.
func listenAll() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
	if err != nil {
		return 0, err
	}
	wait := unix.NsecToTimeval(captureWait.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// networkOrder gives a number the byte order of the network.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// capture shows frames until there is an end and all that came before it were
// shown.
func capture(namespace string, fd int, end *atomic.Pointer[time.Time], each func(Frame)) error {
	data, control := make([]byte, longestFrame), make([]byte, 128)
	links := map[int]string{}
	for {
		n, c, _, from, err := unix.Recvmsg(fd, data, control, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			if end.Load() != nil {
				return nil
			}
			continue
		}
		if err != nil && !errors.Is(err, unix.ENETDOWN) {
			return err
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue // a link went down
		}
		name, err := linkName(namespace, links, link.Ifindex)
		if err != nil {
			continue // it went away with the frame still in the queue
		}
		f := Frame{At: stamp(control[:c]), Link: name, Out: link.Pkttype == unix.PACKET_OUTGOING, Data: data[:n]}
		if e := end.Load(); e != nil && f.At.After(*e) {
			return nil
		}
		each(f)
	}
}

func linkName(namespace string, known map[int]string, index int) (string, error) {
	if name, ok := known[index]; ok {
		return name, nil
	}
	err := inside(namespace, func() error {
		i, err := net.InterfaceByIndex(index)
		if err == nil {
			known[index] = i.Name
		}
		return err
	})
	return known[index], err
}

// stamp is the time at which the kernel got a frame.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}
