//go:build lab

package bus_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/store"
)

const natsModule = "github.com/nats-io/nats-server/v2@v2.15.2"

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// natsProcess starts the real program with a configuration and gives a kill that
// it cannot notice coming.
func natsProcess(t *testing.T, program, conf string) (kill func()) {
	t.Helper()
	cmd := exec.Command(program, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // SIGKILL
		_ = cmd.Wait()         // says that it was killed
	})
	t.Cleanup(kill)
	return kill
}

// The external bus is a process of its own, is killed, and comes back: hosts,
// leases and tables go on.
func TestExternalProcess(t *testing.T) {
	dir, natsListen := t.TempDir(), freeAddress(t)
	install := exec.Command("go", "install", natsModule)
	install.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install NATS: %v\n%s", err, out)
	}
	text, err := bus.ExternalConfig(dir+"/bus", authority(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(conf, []byte(strings.Replace(text, "0.0.0.0:4222", natsListen, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	kill := natsProcess(t, filepath.Join(dir, "nats-server"), conf)

	b := bustest.Run(t, bus.ServerConfig{
		External: "tls://" + natsListen, ExternalSeed: bus.SeedFile(dir + "/bus"), PKI: authority(t, dir), Log: bustest.Log(),
	})
	c, ctx := b.Conn(t), within(t, 2*time.Minute)
	s, err := store.Buckets(ctx, c.JS)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, b.Host(t, "a"), "a", map[string]bus.Handler{
		"ping": func(context.Context, json.RawMessage) (any, error) { return "pong", nil },
	})
	if err := call(t, c, "a", "ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	machines := store.NewTable[int](s.Objects, "machine")
	if err := machines.Create(ctx, "web-1", 1); err != nil {
		t.Fatal(err)
	}
	l, err := lease.New(s.Leases, c.JS).Acquire(ctx, "job.x", "server", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	kill()
	natsProcess(t, filepath.Join(dir, "nats-server"), conf)
	if err := call(t, c, "a", "ping", nil, nil); err != nil {
		t.Errorf("after the kill: %v", err)
	}
	if n, _, err := machines.Get(ctx, "web-1"); err != nil || n != 1 {
		t.Errorf("what was acknowledged: %d, %v", n, err)
	}
	if err := l.Renew(ctx); err != nil {
		t.Errorf("the lease: %v", err)
	}
}
