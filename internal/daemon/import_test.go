package daemon_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/daemon/daemontest"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// source is a raw disk of 8 MiB, and its checksum.
func source() ([]byte, string) {
	b := make([]byte, 8<<20)
	for at, sum := 0, sha256.Sum256(nil); at < len(b); at, sum = at+len(sum), sha256.Sum256(sum[:]) {
		copy(b[at:], sum[:])
	}
	b[510], b[511] = 0x55, 0xaa
	sum := sha256.Sum256(b)
	return b, hex.EncodeToString(sum[:])
}

// TestImportOutlivesServer stops the server in the midst of a transfer: the next one
// goes on with it.
func TestImportOutlivesServer(t *testing.T) {
	t.Parallel()
	f := daemontest.New(t)
	disk, sum := source()
	s := sourcetest.New(t, disk, sourcetest.Manners{Slow: 20 * time.Millisecond})
	c := f.Client()
	defer c.Close()
	j, err := c.StartImport(t.Context(), "web", client.ImportRequest{Link: s.URL + "/disk", SHA256: sum}, "")
	must(t, err)
	f.Await("1 MiB has come", func(context.Context, *client.Client) bool { n, _ := s.Sent(); return n > 1<<20 })
	f.StopServer()
	check := filepath.Join(f.Config().Data, "checks", "half")
	must(t, os.MkdirAll(check, 0o700)) // as a server leaves it that is killed in the midst of a boot check
	before, _ := s.Sent()
	s.Replace(disk, sourcetest.Manners{})
	f.StartServer()
	if _, err := os.Stat(check); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a boot check that was interrupted is still there: %v", err)
	}
	done(t, c, j, nil)
	after, _ := s.Sent()
	if again := after - before; again > int64(len(disk))-512<<10 {
		t.Errorf("%d of %d bytes were sent again", again, len(disk))
	}
	wantImage(t, c, "web", disk)
}

// TestUploadGoesOn cuts each connection to the server after 1 MiB: the client goes on
// where it was.
func TestUploadGoesOn(t *testing.T) {
	t.Parallel()
	f := daemontest.New(t)
	disk, sum := source()
	whole := f.Client()
	defer whole.Close()
	at, err := client.LoadContext(f.ContextFile())
	must(t, err)
	var sent atomic.Int64
	c, err := client.NewVia(at, func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &cutConn{Conn: conn, left: 1 << 20, sent: &sent}, err
	})
	must(t, err)
	defer c.Close()
	must(t, c.Upload(t.Context(), "web", "upload-1", bytes.NewReader(disk), int64(len(disk)), func(int64) {}))
	if n := sent.Load(); n < int64(len(disk)) || n > 3*int64(len(disk)) {
		t.Errorf("%d bytes travelled for %d", n, len(disk))
	}
	j, err := whole.StartImport(t.Context(), "web", client.ImportRequest{Upload: "upload-1", SHA256: sum}, "")
	done(t, whole, j, err)
	wantImage(t, whole, "web", disk)
	img, err := whole.Image(t.Context(), "web")
	must(t, err)
	if img.State != droveway.ImageReady || img.Size != int64(len(disk)) || img.Format != droveway.Raw || img.SHA256 != sum {
		t.Errorf("the image is %+v", img)
	}
	_, err = whole.StartImport(t.Context(), "web", client.ImportRequest{Upload: "upload-1"}, "")
	wantKind(t, err, droveway.Exists)
}

// cutConn ends after so many bytes were sent.
type cutConn struct {
	net.Conn
	left int
	sent *atomic.Int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_ = c.Conn.Close()
		return 0, errors.New("cut by the test")
	}
	n, err := c.Conn.Write(p)
	c.left -= n
	c.sent.Add(int64(n))
	return n, err
}

func wantImage(t *testing.T, c *client.Client, name string, want []byte) {
	t.Helper()
	r, err := c.OpenImage(t.Context(), name, 0)
	must(t, err)
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("image %s: %d bytes differ from the %d of the source (%v)", name, len(got), len(want), err)
	}
}
