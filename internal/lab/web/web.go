// Package web is a web server that is as far away, and as slow, as a test or a
// benchmark wants, and that can be taken away. It serves one file at every path.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves a file.
type Server struct {
	Latency time.Duration // before each answer

	rate atomic.Int64
	path string
	tag  string
	away atomic.Bool
	sent atomic.Int64

	mu   sync.Mutex
	free time.Time // when the next byte may go
}

// New makes a server of a file, which must not change.
func New(path string) (*Server, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("serve a file: %w", err)
	}
	return &Server{path: path, tag: fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano())}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	web := &http.Server{Handler: s}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })()
	if err := web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve a file: %w", err)
	}
	return nil
}

// SetAway takes the server away, or brings it back: answers end in their midst, and
// there are no others.
func (s *Server) SetAway(yes bool) { s.away.Store(yes) }

// SetRate bounds all answers together, in bytes a second; 0: no limit.
func (s *Server) SetRate(rate int64) { s.rate.Store(rate) }

// Sent is how many bytes of the file have gone.
func (s *Server) Sent() int64 { return s.sent.Load() }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.leave()
	time.Sleep(s.Latency)
	f, err := os.Open(s.path)
	if err != nil {
		http.Error(w, "the file is gone", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("ETag", s.tag)
	http.ServeContent(&slow{w, s}, r, "disk.img", time.Time{}, f)
}

// leave ends the answer of a server that is away.
func (s *Server) leave() {
	if s.away.Load() {
		panic(http.ErrAbortHandler)
	}
}

// turn waits until so many bytes may go.
func (s *Server) turn(n int) {
	rate := s.rate.Load()
	if rate == 0 {
		return
	}
	s.mu.Lock()
	now := time.Now()
	if s.free.Before(now) {
		s.free = now
	}
	at := s.free
	s.free = at.Add(time.Duration(n) * time.Second / time.Duration(rate))
	s.mu.Unlock()
	time.Sleep(time.Until(at))
}

// slow is an answer at the server's rate. It hides that the connection can take a
// whole file at once.
type slow struct {
	http.ResponseWriter
	s *Server
}

const piece = 64 << 10

func (w *slow) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		w.s.leave()
		part := p[:min(len(p), piece)]
		w.s.turn(len(part))
		var m int
		m, err = w.ResponseWriter.Write(part)
		w.s.sent.Add(int64(m))
		n, p = n+m, p[len(part):]
	}
	return n, err
}
