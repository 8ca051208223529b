package nbd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
)

// memory is an export whose bytes are at hand. Zeros from 64 KiB on are a hole.
type memory struct {
	b      []byte
	broken bool
	reads  chan int // the lengths, if not nil
}

const memoryBlock = 64 << 10

func (m *memory) Size() int64 { return int64(len(m.b)) }

func (m *memory) Read(_ context.Context, p []byte, off int64) error {
	if m.reads != nil {
		m.reads <- len(p)
	}
	if m.broken {
		return errors.New("broken by the test")
	}
	copy(p, m.b[off:])
	return nil
}

func (m *memory) Hole(_ context.Context, off, n int64) bool {
	return n >= memoryBlock && len(bytes.Trim(m.b[off:off+n], "\x00")) == 0
}

// offer serves one export called disk, and gives the address.
func offer(t *testing.T, e Export, secure *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{TLS: secure, Log: slog.New(slog.DiscardHandler), Open: func(_ context.Context, name string) (Export, error) {
		if name != "disk" {
			return nil, droveway.Errorf(droveway.NotFound, "no export %q", name)
		}
		return e, nil
	}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func halfEmpty() []byte {
	b := make([]byte, 8<<20)
	copy(b, pattern(1<<20))
	copy(b[5<<20:], pattern(1<<20+512))
	return b
}

func tool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	return string(out), err
}

func TestServerGivesOurClientItsBytes(t *testing.T) {
	t.Parallel()
	data := halfEmpty()
	c, err := Dial(t.Context(), "tcp", offer(t, &memory{b: data}, nil), "disk")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, len(data))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the bytes differ, or %v", err)
	}
}

func TestServerSaysWhatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := Dial(t.Context(), "tcp", offer(t, &memory{b: make([]byte, 512)}, nil), "other")
	if !droveway.Is(err, droveway.NotFound) {
		t.Errorf("got %v", err)
	}
}

// TestServerGivesQEMUItsBytes has QEMU's own client, with several requests under
// way, and structured replies.
func TestServerGivesQEMUItsBytes(t *testing.T) {
	t.Parallel()
	data := halfEmpty()
	addr := offer(t, &memory{b: data}, nil)
	out := filepath.Join(t.TempDir(), "out")
	if said, err := tool(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", "nbd://"+addr+"/disk", out); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the copy differs, or %v", err)
	}
}

func TestServerTakesNoWrite(t *testing.T) {
	t.Parallel()
	m := &memory{b: halfEmpty()}
	addr := offer(t, m, nil)
	said, err := tool(t, "qemu-io", "-f", "raw", "-c", "write 0 4k", "nbd://"+addr+"/disk")
	if err == nil || !strings.Contains(said, "Permission denied") { // it heeds what the export says of itself
		t.Errorf("QEMU could write: %s", said)
	}
	// A client that does not heed that is told no, and goes on.
	conn := begin(t, addr)
	send(t, conn, request(cmdWrite, 1, 0, 4096), make([]byte, 4096), request(cmdTrim, 2, 0, 4096))
	for range 2 {
		if code, _ := simple(t, conn); code != errPerm {
			t.Errorf("the answer is %d", code)
		}
	}
	if !bytes.Equal(m.b, halfEmpty()) {
		t.Error("something was written")
	}
}

// begin takes a connection past the handshake, with simple replies.
func begin(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := negotiate(conn, "disk"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func send(t *testing.T, conn net.Conn, parts ...[]byte) {
	t.Helper()
	if _, err := conn.Write(bytes.Join(parts, nil)); err != nil {
		t.Fatal(err)
	}
}

func simple(t *testing.T, conn net.Conn) (code uint32, cookie uint64) {
	t.Helper()
	var h [simpleLen]byte
	if _, err := io.ReadFull(conn, h[:]); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint64(h[8:])
}

func TestServerRefusesWhatIsOutside(t *testing.T) {
	t.Parallel()
	conn := begin(t, offer(t, &memory{b: make([]byte, 4096)}, nil))
	for _, q := range [][]byte{
		request(cmdRead, 7, 4096, 1), request(cmdRead, 7, 1, 4096), request(cmdRead, 7, -1, 512), request(cmdRead, 7, 0, 0), request(cmdRead, 7, 0, maxRead+1), request(99, 7, 0, 512),
	} {
		send(t, conn, q)
		if code, cookie := simple(t, conn); code != errInval || cookie != 7 {
			t.Errorf("%x: the answer is %d to %d", q, code, cookie)
		}
	}
	send(t, conn, request(cmdFlush, 8, 0, 0))
	if code, cookie := simple(t, conn); code != 0 || cookie != 8 {
		t.Errorf("flush: the answer is %d to %d", code, cookie)
	}
}

func TestServerSaysThatAReadFails(t *testing.T) {
	t.Parallel()
	addr := offer(t, &memory{b: pattern(1 << 20), broken: true}, nil)
	said, err := tool(t, "qemu-io", "-r", "-f", "raw", "-c", "read 0 64k", "nbd://"+addr+"/disk")
	if !strings.Contains(said, "Input/output error") {
		t.Errorf("%v: %s", err, said)
	}
}

// TestServerBoundsItsMemory has more under way than there is room for: no more is
// read at a time, and all is answered.
func TestServerBoundsItsMemory(t *testing.T) {
	t.Parallel()
	r := newRoom(100)
	var mu sync.Mutex
	var now, most int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			give, err := r.take(t.Context(), 40)
			if err != nil {
				t.Error(err)
				return
			}
			defer give()
			mu.Lock()
			now += 40
			most = max(most, now)
			mu.Unlock()
			mu.Lock()
			now -= 40
			mu.Unlock()
		})
	}
	all.Wait()
	if most > 100 || r.free != 100 {
		t.Errorf("%d were taken at a time, %d are free", most, r.free)
	}
	give, err := r.take(t.Context(), 1000) // more than there ever is
	if err != nil {
		t.Fatal(err)
	}
	give()
}

// certificates makes a server's configuration, and a folder for QEMU's client.
func certificates(t *testing.T) (*tls.Config, string) {
	t.Helper()
	authority, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string) (cert, key []byte) {
		cert, key, err := authority.Issue(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	cert, key := issue("droveway-server")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.CA())
	dir := t.TempDir()
	cert, key = issue("host-a")
	for name, b := range map[string][]byte{"ca-cert.pem": authority.CA(), "client-cert.pem": cert, "client-key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}, dir
}

func TestServerWithTLS(t *testing.T) {
	t.Parallel()
	secure, dir := certificates(t)
	data := halfEmpty()
	addr := offer(t, &memory{b: data}, secure)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	read := func(dir, name string) (string, error) {
		image := fmt.Sprintf("driver=nbd,server.type=inet,server.host=%s,server.port=%s,export=disk,tls-creds=c,tls-hostname=%s", host, port, name)
		return tool(t, "qemu-io", "-r", "--object", "tls-creds-x509,id=c,endpoint=client,dir="+dir, "--image-opts", "-c", "read -P 0 2M 1M", image)
	}
	if said, err := read(dir, "droveway-server"); err != nil || !strings.Contains(said, "read 1048576/1048576") {
		t.Errorf("%v: %s", err, said)
	}
	if said, err := read(dir, "another"); err == nil {
		t.Errorf("it was taken for another server: %s", said)
	}
	_, stranger := certificates(t)
	if err := os.WriteFile(filepath.Join(stranger, "ca-cert.pem"), mustRead(t, filepath.Join(dir, "ca-cert.pem")), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := read(stranger, "droveway-server"); err == nil {
		t.Errorf("a stranger could read: %s", said)
	}
	if c, err := Dial(t.Context(), "tcp", addr, "disk"); err == nil {
		c.Close()
		t.Error("an export was given in the clear")
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// heard is a connection on which a client has said all that it will say.
type heard struct {
	net.Conn
	says io.Reader
}

func (h *heard) Read(p []byte) (int, error)  { return h.says.Read(p) }
func (h *heard) Write(p []byte) (int, error) { return len(p), nil }
func (h *heard) Close() error                { return nil }

func (h *heard) SetWriteDeadline(time.Time) error { return nil }

// FuzzServer has clients that say anything at all: the server ends with an error
// or without, and holds no more than it may.
func FuzzServer(f *testing.F) {
	flags := wire(uint32(flagFixedNewstyle | flagNoZeroes))
	ask := goOption("disk")
	f.Add(bytes.Join([][]byte{flags, ask, request(cmdRead, 1, 0, 512), request(cmdDisconnect, 0, 0, 0)}, nil))
	f.Add(bytes.Join([][]byte{flags, wire(magicOption, optStructured, uint32(0)), ask, request(cmdRead, 1, 4096, 1024)}, nil))
	f.Add(bytes.Join([][]byte{flags, wire(magicOption, optExportName, uint32(4)), []byte("disk"), request(cmdWrite, 1, 0, 4), []byte("abcd")}, nil))
	f.Add(bytes.Join([][]byte{flags, wire(magicOption, optInfo, uint32(1<<20))}, nil))
	f.Add(bytes.Join([][]byte{flags, wire(magicOption, optAbort, uint32(0))}, nil))
	f.Fuzz(func(t *testing.T, said []byte) {
		e := &memory{b: make([]byte, 8192)}
		s := &Server{Log: slog.New(slog.DiscardHandler), Open: func(context.Context, string) (Export, error) { return e, nil }}
		h := &handshake{server: s, conn: &heard{says: iotest.HalfReader(bytes.NewReader(said))}}
		got, err := h.run(t.Context())
		if err != nil || got == nil {
			return
		}
		room := newRoom(1 << 20)
		_ = (&session{conn: h.conn, export: got, room: room, structured: h.structured, log: s.Log}).run(t.Context())
		if room.free != room.whole {
			t.Errorf("%d bytes are still taken", room.whole-room.free)
		}
	})
}
