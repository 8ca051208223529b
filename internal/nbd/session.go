package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/droveway/droveway"
)

// session is a client that reads an export.
type session struct {
	conn       net.Conn
	export     Export
	room       *room
	structured bool
	log        *slog.Logger

	writing sync.Mutex // held for an answer
}

// asked is a request of a client.
type asked struct {
	flags, command uint16
	cookie         uint64
	off            uint64
	length         uint32
}

// inFlight is how many requests of one client are answered at the same time.
const inFlight = 32

// run answers until the client leaves, in whatever order the answers are ready.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel() // who waits for the source gives up
	slots := make(chan struct{}, inFlight)
	for {
		q, err := readRequest(s.conn)
		if err != nil || q.command == cmdDisconnect {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if q.command == cmdWrite { // what is to be written follows
			if _, err := io.CopyN(io.Discard, s.conn, int64(q.length)); err != nil {
				return err
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		all.Go(func() {
			defer func() { <-slots }()
			if err := s.do(ctx, q); err != nil {
				_ = s.conn.Close() // out of step: the client comes again
			}
		})
	}
}

// readRequest reads one request; io.EOF if there is none any more.
func readRequest(r io.Reader) (asked, error) {
	var b [requestLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return asked{}, err
	}
	be := binary.BigEndian
	q := asked{flags: be.Uint16(b[4:]), command: be.Uint16(b[6:]), cookie: be.Uint64(b[8:]), off: be.Uint64(b[16:]), length: be.Uint32(b[24:])}
	if m := be.Uint32(b[:]); m != magicRequest {
		return q, droveway.Errorf(droveway.Invalid, "broken NBD request: magic %#x", m)
	}
	if q.command == cmdWrite && q.length > maxRead {
		return q, droveway.Errorf(droveway.Invalid, "an NBD write of %d bytes", q.length)
	}
	return q, nil
}

// do answers a request. Its error ends the connection.
func (s *session) do(ctx context.Context, q asked) error {
	switch q.command {
	case cmdRead:
		return s.read(ctx, q)
	case cmdFlush:
		return s.done(q)
	case cmdWrite, cmdTrim, cmdZeroes:
		return s.fail(q, errPerm)
	}
	return s.fail(q, errInval)
}

func (s *session) read(ctx context.Context, q asked) error {
	size := uint64(s.export.Size())
	if q.length == 0 || q.length > maxRead || q.off > size || uint64(q.length) > size-q.off {
		return s.fail(q, errInval)
	}
	off, n := int64(q.off), int64(q.length)
	if s.structured && s.export.Hole(ctx, off, n) {
		return s.hole(q)
	}
	give, err := s.room.take(ctx, n)
	if err != nil {
		return err
	}
	defer give()
	head := simpleLen
	if s.structured {
		head = chunkLen + 8
	}
	b := make([]byte, int64(head)+n)
	if err := s.export.Read(ctx, b[head:], off); err != nil {
		if ctx.Err() != nil {
			return err
		}
		s.log.Warn("a read fails", "offset", off, "bytes", n, "error", err)
		return s.fail(q, errIO)
	}
	if s.structured {
		putChunk(b, chunkData, q, uint32(n)+8)
		binary.BigEndian.PutUint64(b[chunkLen:], q.off)
	} else {
		putSimple(b, 0, q)
	}
	return s.send(b)
}

// hole says that all that was asked for is zero.
func (s *session) hole(q asked) error {
	b := make([]byte, chunkLen+12)
	putChunk(b, chunkHole, q, 12)
	binary.BigEndian.PutUint64(b[chunkLen:], q.off)
	binary.BigEndian.PutUint32(b[chunkLen+8:], q.length)
	return s.send(b)
}

func (s *session) done(q asked) error {
	b := make([]byte, simpleLen)
	putSimple(b, 0, q)
	return s.send(b)
}

func (s *session) fail(q asked, code uint32) error {
	if !s.structured || q.command != cmdRead {
		b := make([]byte, simpleLen)
		putSimple(b, code, q)
		return s.send(b)
	}
	b := make([]byte, chunkLen+6) // the code, and a message without any bytes
	putChunk(b, chunkError, q, 6)
	binary.BigEndian.PutUint32(b[chunkLen:], code)
	return s.send(b)
}

func putSimple(b []byte, code uint32, q asked) {
	binary.BigEndian.PutUint32(b, magicSimple)
	binary.BigEndian.PutUint32(b[4:], code)
	binary.BigEndian.PutUint64(b[8:], q.cookie)
}

// putChunk writes the head of a chunk that is the whole answer.
func putChunk(b []byte, kind uint16, q asked, length uint32) {
	binary.BigEndian.PutUint32(b, magicChunk)
	binary.BigEndian.PutUint16(b[4:], chunkDone)
	binary.BigEndian.PutUint16(b[6:], kind)
	binary.BigEndian.PutUint64(b[8:], q.cookie)
	binary.BigEndian.PutUint32(b[16:], length)
}

// taking is how long a client may need to take one answer.
const taking = 30 * time.Second

func (s *session) send(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	// One who does not take its answers holds room that others wait for.
	if err := s.conn.SetWriteDeadline(time.Now().Add(taking)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}
