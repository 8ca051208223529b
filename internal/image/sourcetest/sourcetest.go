// Package sourcetest is a web server that treats its clients badly: it cuts
// connections, gives no parts, or changes what it serves. It listens on the
// loopback interface, for as long as a test runs.
package sourcetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Server serves one file at every path.
type Server struct {
	URL string

	web *httptest.Server

	mu     sync.Mutex
	do     Manners
	file   []byte
	tag    string // of its contents
	sent   int64
	served int
}

// Manners are how a server behaves.
type Manners struct {
	CutAfter int64         // bytes of an answer, after which the connection is cut; 0: never
	Cuts     int           // how often; 0: each time
	NoRanges bool          // gives the whole, whatever was asked for
	NoTag    bool          // does not say which contents it gives
	Slow     time.Duration // wait after each 64 KiB
	Status   int           // the answer to everything, if not 0
	Silent   bool          // answers nothing, and keeps the connection
}

// New starts a server.
func New(t testing.TB, file []byte, m Manners) *Server {
	t.Helper()
	s := &Server{}
	s.Replace(file, m)
	s.web = httptest.NewServer(s)
	t.Cleanup(s.web.Close)
	s.URL = s.web.URL
	return s
}

// Vanish cuts all connections; from then on nobody listens.
func (s *Server) Vanish() {
	s.web.CloseClientConnections()
	s.web.Close()
}

// Replace changes the file and the manners.
func (s *Server) Replace(file []byte, m Manners) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.do, s.tag = file, m, fmt.Sprintf(`"%x"`, sha256.Sum256(file))
}

// Sent tells how many bytes of files were sent in all, and in how many answers.
func (s *Server) Sent() (bytes int64, answers int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.served
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	file, do, tag := s.file, s.do, s.tag
	s.served++
	s.mu.Unlock()
	if do.Silent {
		<-r.Context().Done()
		return
	}
	if do.Status != 0 {
		w.WriteHeader(do.Status)
		return
	}
	var modified time.Time
	if !do.NoTag {
		w.Header().Set("ETag", tag)
		modified = time.Unix(1e9, 0)
	}
	if do.NoRanges {
		r.Header.Del("Range")
	}
	http.ServeContent(&cut{ResponseWriter: w, s: s, do: do}, r, "disk.img", modified, bytes.NewReader(file))
}

// cut ends the connection where the manners say so.
type cut struct {
	http.ResponseWriter
	s    *Server
	do   Manners
	sent int64
}

func (c *cut) Write(p []byte) (int, error) {
	over := c.do.CutAfter > 0 && c.sent+int64(len(p)) > c.do.CutAfter
	if over {
		p = p[:c.do.CutAfter-c.sent]
	}
	n, err := c.ResponseWriter.Write(p)
	c.sent += int64(n)
	c.count(n)
	if over && c.mayCut() {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	time.Sleep(c.do.Slow * time.Duration(len(p)) / (64 << 10))
	return n, err
}

func (c *cut) count(n int) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.sent += int64(n)
}

// mayCut takes one of the cuts, if they are counted.
func (c *cut) mayCut() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch c.s.do.Cuts {
	case 0:
		return true
	case 1:
		c.s.do.CutAfter = 0
	}
	c.s.do.Cuts--
	return true
}
