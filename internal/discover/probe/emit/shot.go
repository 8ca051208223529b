package emit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/netns"
	"golang.org/x/sys/unix"
)

const (
	// answerTime is below the second after which the kernel repeats a SYN, so
	// that each connection is one SYN.
	answerTime = 900 * time.Millisecond
	// drainTime is how long the other end may take to close as well.
	drainTime = 200 * time.Millisecond
)

// shot is one connection of a pattern.
type shot struct {
	emitter    *Emitter
	assignment discover.Assignment
	index      int
	claim      Claim
}

// fire opens a connection, holds it and closes it, and says when that was.
func (s *shot) fire(ctx context.Context) discover.Emission {
	done := discover.Emission{Pattern: s.assignment.Pattern, Index: s.index, Opened: time.Now()}
	c, err := s.open()
	if err != nil {
		done.Error = explain(err)
		return done
	}
	defer c.Close()
	done.Opened = time.Now()
	sleep(ctx, s.assignment.Holds[s.index]) // if the probe ends, it ends too
	err = c.CloseWrite()
	done.Closed = time.Now()
	if err == nil {
		err = drain(c)
	}
	if err != nil {
		done.Error = explain(err)
	}
	return done
}

// drain reads what the server says: unread bytes would turn the close into a
// reset.
func drain(c *net.TCPConn) error {
	if err := c.SetReadDeadline(time.Now().Add(drainTime)); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, c, 1<<20)
	if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, io.EOF) || ok && timeout.Timeout() {
		return nil
	}
	return err
}

// open does not heed the end of the probe: a connection that is half open is not
// given up, but completed and closed.
func (s *shot) open() (c *net.TCPConn, err error) {
	a := s.assignment
	namespace, err := netns.Of(s.emitter.config.Proc, a.PID)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: answerTime, KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		return s.bind(raw, namespace)
	}}
	err = netns.Inside(s.emitter.config.Proc, a.PID, func() error {
		conn, err := d.Dial("tcp", a.Destination.String())
		if err != nil {
			return err
		}
		c = conn.(*net.TCPConn)
		return nil
	})
	return c, err
}

// bind takes a local port before the connection is opened, so that whoever sees
// it can be told whose it is.
func (s *shot) bind(raw syscall.RawConn, namespace uint32) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		var local unix.Sockaddr = &unix.SockaddrInet4{}
		if !s.assignment.Destination.Addr().Is4() {
			local = &unix.SockaddrInet6{}
		}
		if failed = unix.Bind(int(fd), local); failed != nil {
			return
		}
		if local, failed = unix.Getsockname(int(fd)); failed == nil {
			s.claim = Claim{namespace, portOf(local), s.assignment.Destination}
			s.emitter.config.Claim(s.claim)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("take a local port: %w", err)
	}
	return nil
}

func portOf(a unix.Sockaddr) uint16 {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// explain makes the few words that a report has for an error.
func explain(err error) string {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "reset by the other end"
	case ok && timeout.Timeout():
		return "no answer"
	case droveway.Is(err, droveway.NotFound):
		return "the process has ended"
	}
	text := err.Error()
	return text[:min(len(text), 256)]
}
