package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	web      = "web"
	diskSize = 1 << 20
	patience = 10 * time.Second // for anything to come true
)

// rig is a real bus and the server's side of it.
type rig struct {
	t   *testing.T
	bus *bustest.Bus
	*Client
	conn   *bus.Conn
	stores *store.Stores
}

func newRig(t *testing.T) *rig {
	t.Helper()
	b := bustest.Start(t)
	r := &rig{t: t, bus: b, conn: b.Conn(t)}
	var err error
	r.stores, err = store.Buckets(t.Context(), r.conn.JS)
	must(t, err)
	r.Client = NewClient(r.conn)
	return r
}

// node is a host whose agent can be stopped and started.
type node struct {
	t      *testing.T
	rig    *rig
	cfg    Config
	driver *mem.Driver // its guests live on when the agent stops
	*Agent
	stop func()
}

func (r *rig) host(name string, edit ...func(*Config)) *node {
	r.t.Helper()
	d := mem.New()
	n := &node{t: r.t, rig: r, driver: d, cfg: Config{
		Name: name, Dir: r.t.TempDir(), Address: netip.MustParseAddr("127.0.0.1"), Driver: d, Images: pictures{}, Log: bustest.Log(),
	}}
	for _, e := range edit {
		e(&n.cfg)
	}
	r.t.Cleanup(func() { d.Kill(web) })
	n.start()
	return n
}

// start starts the agent, with a connection of its own as a process has.
func (n *node) start() {
	n.t.Helper()
	n.cfg.Conn = n.rig.bus.Host(n.t, n.cfg.Name)
	a, err := New(n.cfg)
	must(n.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(n.t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n.Agent = a
	n.stop = func() {
		n.t.Helper()
		cancel()
		must(n.t, <-done)
		n.cfg.Conn.Close()
		n.stop = func() {}
	}
	n.t.Cleanup(func() { n.stop() })
	eventually(n.t, "host "+n.cfg.Name+" answers", func() bool {
		ctx, cancel := context.WithTimeout(n.t.Context(), patience/50) // a question to the process before is lost
		defer cancel()
		_, err := n.rig.Show(ctx, n.cfg.Name, web)
		return err == nil
	})
}

func (n *node) restart() {
	n.t.Helper()
	n.stop()
	n.start()
}

// is checks what the host has of the machine, and gives it.
func (n *node) is(role Role, s hypervisor.State) Observed {
	n.t.Helper()
	o, err := n.rig.Show(n.t.Context(), n.cfg.Name, web)
	must(n.t, err)
	if o.Role != role || o.Instance != s {
		n.t.Errorf("host %s: role %s, instance %s; want %s, %s", o.Host, o.Role, o.Instance, role, s)
	}
	return o
}

// holds checks the names in one of the host's directories.
func (n *node) holds(dir string, want ...string) {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.cfg.Dir, dir))
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name()] = true
	}
	for _, w := range want {
		if !have[w] {
			n.t.Errorf("host %s: %s/%s is not there", n.cfg.Name, dir, w)
		}
		delete(have, w)
	}
	for name := range have {
		n.t.Errorf("host %s: %s/%s is left", n.cfg.Name, dir, name)
	}
}

// guest is the host's instance of the machine, which must be there.
func (n *node) guest() *mem.Instance {
	n.t.Helper()
	g := n.driver.Guest(web)
	if g == nil {
		n.t.Fatalf("host %s has no guest", n.cfg.Name)
	}
	return g
}

func instance(token uint64) Instance {
	return Instance{Machine: web, Token: token, UUID: "one", CPUs: 1, MemoryMiB: 64, Disks: []Disk{{Name: "root", Format: droveway.Raw, Size: diskSize}}}
}

func ref(token uint64) Ref { return Ref{web, token} }

// pictures are images by name.
type pictures map[string][]byte

func (p pictures) Open(_ context.Context, i Image, offset int64) (io.ReadCloser, error) {
	b, ok := p[i.Name]
	if !ok {
		return nil, droveway.Errorf(droveway.NotFound, "no image %s", i.Name)
	}
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}

// picture is an image of some bytes, and an instance with a disk made from it.
func picture(token uint64) (Instance, []byte) {
	b := bytes.Repeat([]byte("droveway"), 8<<10)
	sum := sha256.Sum256(b)
	i := instance(token)
	i.Disks[0].Image = &Image{Name: "tiny", Format: droveway.Raw, Bytes: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
	return i, b
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s not yet: %s", patience, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks the kind of an error and what it says.
func refused(t *testing.T, err error, k droveway.Kind, says string) {
	t.Helper()
	if !droveway.Is(err, k) || !bytes.Contains([]byte(err.Error()), []byte(says)) {
		t.Errorf("error %v of kind %q; want kind %q and %q", err, droveway.KindOf(err), k, says)
	}
}

// runs makes the machine run on a host.
func (n *node) runs(token uint64) {
	n.t.Helper()
	_, err := n.rig.Create(n.t.Context(), n.cfg.Name, instance(token), nil)
	must(n.t, err)
	_, err = n.rig.Start(n.t.Context(), n.cfg.Name, instance(token))
	must(n.t, err)
}
