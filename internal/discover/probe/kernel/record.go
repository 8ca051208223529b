package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"golang.org/x/sys/unix"
)

// The record that the program writes for a change of state, in bytes.
const (
	atTime      = 0  // uint64, nanoseconds since boot
	atSocket    = 8  // uint64
	atProcess   = 16 // uint64, thread group in the high half
	atNamespace = 24 // uint32
	atSent      = 28 // uint32, next number to be acknowledged
	atReceived  = 32 // uint32, next number expected
	atAddr4     = 36
	atPeer4     = 40
	atPort      = 44 // uint16
	atPeerPort  = 46 // uint16, big endian
	atFamily    = 48 // uint16
	atProtocol  = 50 // uint16
	atOld       = 52 // uint16
	atNew       = 54 // uint16
	atAddr6     = 56
	atPeer6     = 72
	atName      = 88
	nameSize    = 16
	recordSize  = 104
)

// States of a TCP socket, of include/net/tcp_states.h.
const (
	established = 1
	synSent     = 2
	finWait1    = 4
	closed      = 7
	closeWait   = 8
	lastAck     = 9
	listen      = 10
)

// decode reads a record. False: it says nothing that matters. The offset turns
// the kernel's time into the time of day.
func decode(b []byte, offset int64) (capture.Event, bool, error) {
	if len(b) < recordSize {
		return capture.Event{}, false, droveway.Errorf(droveway.Internal, "record of the kernel has %d bytes instead of %d", len(b), recordSize)
	}
	le := binary.LittleEndian
	local, remote, ok := addresses(b, le.Uint16(b[atFamily:]))
	if !ok || le.Uint16(b[atProtocol:]) != unix.IPPROTO_TCP {
		return capture.Event{}, false, nil
	}
	e := capture.Event{
		Key:  capture.Key{Namespace: le.Uint32(b[atNamespace:]), Socket: le.Uint64(b[atSocket:])},
		Time: time.Unix(0, int64(le.Uint64(b[atTime:]))+offset), Local: local, Remote: remote,
	}
	classify(&e, b)
	return e, e.Kind != 0, nil
}

// classify says what a change of state means. The current process is the one
// that acts only where a system call makes the change; the others happen when a
// packet comes, in whatever process was interrupted.
func classify(e *capture.Event, b []byte) {
	le := binary.LittleEndian
	before, after := le.Uint16(b[atOld:]), le.Uint16(b[atNew:])
	pid := int(le.Uint64(b[atProcess:]) >> 32)
	sent, received := le.Uint32(b[atSent:])-1, le.Uint32(b[atReceived:])-1
	switch {
	case after == synSent:
		name, _, _ := bytes.Cut(b[atName:atName+nameSize], []byte{0})
		e.Kind, e.PID, e.Name = capture.Started, pid, string(name)
	case after == listen:
		e.Kind, e.PID = capture.Listening, pid
	case after == established && before == synSent:
		e.Kind, e.Outbound, e.PID, e.ISN = capture.Opened, true, pid, pair(sent, received)
	case after == established:
		e.Kind, e.ISN = capture.Opened, pair(received, sent)
	case before == established && after == finWait1 && pid == 0:
		e.Kind = capture.Released // nobody who can be named, now or later
	case before == established && after == finWait1:
		e.Kind, e.PID = capture.Closed, pid
	case before == established:
		e.Kind = capture.Closed
	case before == closeWait && after == lastAck:
		e.Kind, e.PID = capture.Released, pid
	}
}

func pair(opener, other uint32) uint64 { return uint64(opener)<<32 | uint64(other) }

func addresses(b []byte, family uint16) (local, remote netip.AddrPort, ok bool) {
	port, peerPort := binary.LittleEndian.Uint16(b[atPort:]), binary.BigEndian.Uint16(b[atPeerPort:])
	switch family {
	case unix.AF_INET:
		a, p := netip.AddrFrom4([4]byte(b[atAddr4:])), netip.AddrFrom4([4]byte(b[atPeer4:]))
		return netip.AddrPortFrom(a, port), netip.AddrPortFrom(p, peerPort), true
	case unix.AF_INET6:
		a, p := netip.AddrFrom16([16]byte(b[atAddr6:])), netip.AddrFrom16([16]byte(b[atPeer6:]))
		return netip.AddrPortFrom(a.Unmap(), port), netip.AddrPortFrom(p.Unmap(), peerPort), true
	}
	return local, remote, false
}

// bootOffset is the time of day minus the time since boot, in nanoseconds.
func bootOffset() int64 {
	var boot unix.Timespec
	now := time.Now().UnixNano()
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return now - boot.Nano()
}
