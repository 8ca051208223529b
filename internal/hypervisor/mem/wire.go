package mem

import (
	"context"
	"encoding/gob"
	"errors"
	"net"
	"sync"
	"time"
)

// Memory and disks travel as gob over TCP, one request and one response at a
// time.

// request is what a client asks: "hello" and "memory" of an instance that waits
// for memory, "size", "read" and "write" of a secondary.
type request struct {
	Op      string
	Name    string // machine, or export
	Counter uint64
	Off     int64
	N       int
	Data    []byte
}

type response struct {
	Data []byte
	Size int64
	Err  string
}

// answerWithin bounds a request; both sides are on one network.
const answerWithin = 2 * time.Second

// peer is the asking side of a connection.
type peer struct {
	mu   sync.Mutex
	conn net.Conn
	enc  *gob.Encoder
	dec  *gob.Decoder
}

func dial(ctx context.Context, address string) (*peer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &peer{conn: conn, enc: gob.NewEncoder(conn), dec: gob.NewDecoder(conn)}, nil
}

func (p *peer) ask(r request) (response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.conn.SetDeadline(time.Now().Add(answerWithin))
	var a response
	if err := p.enc.Encode(r); err != nil {
		return a, err
	}
	if err := p.dec.Decode(&a); err != nil {
		return a, err
	}
	if a.Err != "" {
		return a, errors.New(a.Err)
	}
	return a, nil
}

func (p *peer) close() { _ = p.conn.Close() }

// server answers the requests of all that connect, until it is closed.
type server struct {
	listener net.Listener
	answer   func(request) response
	lost     func() // a connection ended

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

func serve(ctx context.Context, listen string, answer func(request) response, lost func()) (*server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, err
	}
	s := &server{listener: l, answer: answer, lost: lost, conns: map[net.Conn]struct{}{}}
	go s.accept()
	return s, nil
}

func (s *server) address() string { return s.listener.Addr().String() }

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if !s.add(conn) {
			return
		}
		go s.talk(conn)
	}
}

func (s *server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *server) talk(conn net.Conn) {
	defer s.end(conn)
	dec, enc := gob.NewDecoder(conn), gob.NewEncoder(conn)
	for {
		var r request
		if dec.Decode(&r) != nil || enc.Encode(s.answer(r)) != nil {
			return
		}
	}
}

func (s *server) end(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	closed := s.closed
	s.mu.Unlock()
	if !closed {
		s.lost()
	}
}

// close ends every connection. It does not wait for an answer that is being
// made: answers may close their own server.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.listener.Close()
	for c := range s.conns {
		_ = c.Close()
	}
}
