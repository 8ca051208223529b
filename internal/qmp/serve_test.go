package qmp

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// serve greets one client at path, which may be longer than a socket's may.
func serve(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(short, path); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		m := &monitor{t: t, conn: conn, in: bufio.NewScanner(conn)}
		m.say(hello)
		m.say(`{"return":{},"id":%d}`, m.hear().ID)
		m.hear()
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}
