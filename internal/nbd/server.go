package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/droveway/droveway"
)

// Export is a disk that a Server serves. Its methods may be called at the same
// time.
type Export interface {
	// Size is in bytes, and does not change.
	Size() int64
	// Read fills p from off on. An error makes the client's read fail.
	Read(ctx context.Context, p []byte, off int64) error
	// Hole reports whether n bytes from off on are zero for certain.
	Hole(ctx context.Context, off, n int64) bool
}

// Server serves exports, to be read only.
type Server struct {
	// Open finds an export by its name; NotFound if there is none. The export
	// lasts until the connection ends.
	Open func(ctx context.Context, name string) (Export, error)
	TLS  *tls.Config // nil: in the clear, for tests only
	Log  *slog.Logger

	// Budget bounds the bytes of all answers that are being made, and Connections
	// the clients; 0: 64 MiB and 512.
	Budget      int64
	Connections int
}

const (
	budget      = 64 << 20
	connections = 512
	// shaking is how long a client may take for the handshake. Afterwards it may
	// be silent for as long as it likes: a guest that reads nothing asks nothing.
	shaking = 30 * time.Second
)

// Serve answers the connections of a listener until ctx ends. Then it closes the
// listener and all connections, and returns once nothing is under way.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	room := newRoom(or(s.Budget, budget))
	slots := make(chan struct{}, or(s.Connections, connections))
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if temporary(ctx, err) {
				continue
			}
			return droveway.Errorf(droveway.Unavailable, "accept NBD clients: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close() // too many: it comes again
			continue
		}
		all.Go(func() {
			defer func() { <-slots }()
			s.answer(ctx, conn, room)
		})
	}
}

func or[T int | int64](n, otherwise T) T {
	if n > 0 {
		return n
	}
	return otherwise
}

// temporary waits a little if another Accept may succeed, as when there are too
// many open files.
func temporary(ctx context.Context, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
	return true
}

// answer serves one client until it leaves.
func (s *Server) answer(ctx context.Context, conn net.Conn, room *room) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	log := s.Log.With("client", conn.RemoteAddr().String())
	_ = conn.SetDeadline(time.Now().Add(shaking)) // fails only if it is closed
	h := &handshake{server: s, conn: conn, raw: conn}
	export, err := h.run(ctx)
	if err != nil || export == nil {
		if err != nil && ctx.Err() == nil {
			log.Info("an NBD client was turned away", "error", err)
		}
		return
	}
	_ = h.conn.SetDeadline(time.Time{})
	log.Info("an NBD client reads", "export", shown(h.name), "size", export.Size())
	err = (&session{conn: h.conn, export: export, room: room, structured: h.structured, log: log}).run(ctx)
	log.Info("an NBD client has left", "export", shown(h.name), "error", err)
}

// shown is the start of a name: whoever knows all of it may read the export.
func shown(name string) string { return name[:min(len(name), 6)] }

// room is memory that answers share.
type room struct {
	mu    sync.Mutex
	free  int64
	whole int64
	freed chan struct{} // closed when there is more
}

func newRoom(n int64) *room { return &room{free: n, whole: n, freed: make(chan struct{})} }

// take waits until there is room for n bytes, or for all there is if n is more.
func (r *room) take(ctx context.Context, n int64) (give func(), err error) {
	n = min(n, r.whole)
	for {
		r.mu.Lock()
		if r.free >= n {
			r.free -= n
			r.mu.Unlock()
			return func() { r.give(n) }, nil
		}
		freed := r.freed
		r.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	close(r.freed)
	r.freed = make(chan struct{})
}
