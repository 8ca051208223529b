package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve exports a file with qemu-nbd and gives its socket.
func serve(t *testing.T, data []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd") // t.TempDir is too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file, socket := filepath.Join(dir, "disk"), filepath.Join(dir, "s")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// --fork returns when the server listens.
	pid := filepath.Join(dir, "pid")
	cmd := exec.Command("qemu-nbd", "--fork", "--pid-file="+pid, "-r", "-t", "-e", "4", "-f", "raw", "-x", "disk", "-k", socket, file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("qemu-nbd: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("kill", readString(t, pid)).Run() })
	return socket
}

func readString(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>9)
	}
	return b
}

func dial(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), "unix", socket, "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestReadsWhatQEMUExports(t *testing.T) {
	t.Parallel()
	data := pattern(40 << 20) // more than one request may ask for
	c := dial(t, serve(t, data))
	if c.Size() != int64(len(data)) {
		t.Fatalf("size %d, want %d", c.Size(), len(data))
	}
	for _, r := range []struct {
		off  int64
		n    int
		want error
	}{
		{0, 512, nil},
		{1, 3, nil},
		{12345, 1 << 20, nil},
		{0, len(data), nil},
		{int64(len(data)) - 5, 5, nil},
		{int64(len(data)) - 5, 6, io.EOF},
		{int64(len(data)), 1, io.EOF},
	} {
		p := make([]byte, r.n)
		n, err := c.ReadAt(p, r.off)
		if !errors.Is(err, r.want) {
			t.Errorf("read %d at %d: %v, want %v", r.n, r.off, err, r.want)
		}
		if want := data[r.off:min(r.off+int64(r.n), int64(len(data)))]; !bytes.Equal(p[:n], want) {
			t.Errorf("read %d at %d: wrong bytes", r.n, r.off)
		}
	}
	if _, err := c.ReadAt(make([]byte, 1), -1); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("negative offset: %v", err)
	}
}

func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	data := pattern(1 << 20)
	c := dial(t, serve(t, data))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := make([]byte, 1000)
			for j := range 50 {
				off := int64(i*100000 + j*511)
				if _, err := c.ReadAt(p, off); err != nil || !bytes.Equal(p, data[off:off+1000]) {
					t.Errorf("read at %d: wrong bytes or %v", off, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestUnknownExport(t *testing.T) {
	t.Parallel()
	_, err := Dial(t.Context(), "unix", serve(t, pattern(512)), "other")
	if !droveway.Is(err, droveway.NotFound) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	_, err := Dial(t.Context(), "unix", filepath.Join(t.TempDir(), "s"), "")
	if !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, pattern(4096)))
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.ReadAt(make([]byte, 1), 0); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("read after close: %v", err)
	}
}

// pipe connects a client to a scripted server.
func pipe(t *testing.T, size int64) (*Client, net.Conn) {
	t.Helper()
	mine, theirs := net.Pipe()
	t.Cleanup(func() { mine.Close(); theirs.Close() })
	return &Client{size: size, conn: mine}, theirs
}

func TestCloseEndsAReadUnderWay(t *testing.T) {
	t.Parallel()
	c, server := pipe(t, 512)
	failed := make(chan error)
	go func() {
		_, err := c.ReadAt(make([]byte, 512), 0)
		failed <- err
	}()
	if _, err := io.ReadFull(server, make([]byte, requestLen)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-failed; !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestServersErrorLeavesClientUsable(t *testing.T) {
	t.Parallel()
	c, server := pipe(t, 512)
	go func() {
		for _, errno := range []uint32{5, 0} {
			req := make([]byte, requestLen)
			if _, err := io.ReadFull(server, req); err != nil {
				return
			}
			_, _ = server.Write(simpleReply(errno, req[8:16], pattern(512)))
		}
	}()
	p := make([]byte, 512)
	_, err := c.ReadAt(p, 0)
	if !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "input/output error") {
		t.Fatalf("got %v", err)
	}
	if _, err := c.ReadAt(p, 0); err != nil || !bytes.Equal(p, pattern(512)) {
		t.Errorf("second read: %v", err)
	}
}

func TestBrokenReplyEndsClient(t *testing.T) {
	t.Parallel()
	c, server := pipe(t, 512)
	go func() {
		_, _ = io.ReadFull(server, make([]byte, requestLen))
		_, _ = server.Write(simpleReply(0, []byte("notmine!"), nil))
	}()
	for range 2 { // the second fails without asking
		if _, err := c.ReadAt(make([]byte, 512), 0); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("got %v", err)
		}
	}
}

func TestSilentServerIsLeftAtTheDeadline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, "tcp", l.Addr().String(), ""); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("got %v", err)
	}
}
