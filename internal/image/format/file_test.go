package format

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/droveway/droveway"
)

// TestNoRegularFile opens what is no file of an image. Each is refused at once: a pipe
// has nobody at its other end.
func TestNoRegularFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, socket, dangling := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket"), filepath.Join(dir, "dangling")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		kind droveway.Kind
		says string
	}{
		pipe: {droveway.Invalid, "a pipe"}, socket: {droveway.Invalid, "a socket"}, dir: {droveway.Invalid, "a folder"},
		"/dev/null": {droveway.Invalid, "not a regular file"}, dangling: {droveway.NotFound, "no such file"},
	} {
		if _, err := Open(path); !droveway.Is(err, want.kind) || !strings.Contains(err.Error(), want.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s that says %q", path, err, want.kind, want.says)
		}
	}
}
