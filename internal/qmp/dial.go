package qmp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
)

// maxPath is the longest path of a Unix socket (sockaddr_un in unix(7)).
const maxPath = 107

// Dial connects to the monitor socket at path and greets it. Errors are of kind
// Unavailable, NotFound if there is no socket.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := dialUnix(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, droveway.Errorf(droveway.NotFound, "QMP socket %s: %w", path, err)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "QMP socket %s: %w", path, err)
	}
	c, err := New(ctx, conn)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "QMP socket %s: %w", path, err)
	}
	return c, nil
}

// dialUnix reaches a socket even where its path is too long for the system
// call, by way of an open descriptor of its directory.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	if len(path) <= maxPath {
		return d.DialContext(ctx, "unix", path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
