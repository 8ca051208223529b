package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// onBus makes a control whose hosts are to be real agents on a real bus.
func onBus(t *testing.T, b *bustest.Bus) *control {
	t.Helper()
	conn := b.Conn(t)
	f, err := fleet.Open(t.Context(), conn)
	must(t, err)
	k := &control{t: t, fleet: f, leases: lease.New(f.Stores.Leases, conn.JS), events: &events{known: map[string]bool{}}, js: conn.JS}
	jobs := job.NewManager(job.ManagerConfig{Jobs: f.Stores.Jobs, Leases: k.leases, Owner: "test", Publish: conn.Publish, Log: bustest.Log(), Sole: true})
	k.Controller = New(Config{Fleet: f, Hosts: host.NewClient(conn), Events: k.events, Jobs: jobs, Leases: k.leases, Log: bustest.Log()})
	k.grace = 0
	for _, kind := range k.Kinds() {
		jobs.Register(kind)
	}
	return k
}

// bytesOf is an image library with one image.
type bytesOf []byte

func (b bytesOf) Open(_ context.Context, _ host.Image, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}

// agent runs a real agent until the test, or stop, ends it. Its guests live in
// the driver.
func agent(t *testing.T, b *bustest.Bus, dir string, driver *mem.Driver, image []byte) (stop func()) {
	t.Helper()
	a, err := host.New(host.Config{
		Name: "a", Dir: dir, Address: netip.MustParseAddr("127.0.0.1"), Conn: b.Host(t, "a"),
		Driver: driver, Images: bytesOf(image), Version: "test", Log: bustest.Log(),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := a.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent ended: %v", err)
		}
	})
	stop = func() { cancel(); all.Wait() }
	t.Cleanup(stop)
	return stop
}

// A machine on a real agent, over a real bus: made from an image, started again
// after its guest was killed (SYSTEMS 1.8), left alone by a restart of the agent
// (1.4), unknown while the agent is away, stopped, started and removed.
func TestWithAnAgent(t *testing.T) {
	t.Parallel()
	b, dir, driver := bustest.Start(t), t.TempDir(), mem.New()
	k := onBus(t, b)
	k.run()
	image := make([]byte, 1<<20)
	rand.Read(image)
	sum := sha256.Sum256(image)
	must(t, k.fleet.Images.Create(t.Context(), "noise", droveway.Image{
		Meta: droveway.Meta{Name: "noise"}, Format: droveway.Raw, Size: 1 << 20, Bytes: 1 << 20, SHA256: hex.EncodeToString(sum[:]), State: droveway.ImageReady,
	}))
	must(t, k.fleet.Hosts.Create(t.Context(), "a", droveway.Host{Meta: droveway.Meta{Name: "a"}, Status: droveway.HostStatus{State: droveway.HostJoined}}))
	stop := agent(t, b, dir, driver, image)
	k.waitHost("a", droveway.HostReady)

	m := web(true)
	m.Spec.Disks = []droveway.Disk{{Name: "root", Image: "noise", SizeMiB: 2, Format: droveway.Raw}}
	_, err := k.Create(t.Context(), m, "")
	must(t, err)
	first := k.waitState("web", droveway.MachineRunning)
	disk, err := os.ReadFile(filepath.Join(dir, "volumes", "web.root.raw"))
	must(t, err)
	if len(disk) != 2<<20 || !bytes.Equal(disk[:1<<20], image) {
		t.Errorf("the disk of %d bytes is not the image", len(disk))
	}

	driver.Kill("web")
	k.wait("the drift is told", func() bool { return slices.Contains(k.events.of("machine/web"), "machine.stopped") })
	second := k.waitState("web", droveway.MachineRunning)
	if second.Status.Token <= first.Status.Token {
		t.Errorf("token %d after %d", second.Status.Token, first.Status.Token)
	}

	stop()
	stop = agent(t, b, dir, driver, image)
	o := k.show()
	if o.Role != host.RoleHome || o.Token != second.Status.Token {
		t.Errorf("after a restart of the agent: %+v", o)
	}

	stop()
	k.waitState("web", droveway.MachineUnknown)
	agent(t, b, dir, driver, image)
	k.waitState("web", droveway.MachineRunning)
	if got := get(t, k.fleet, "web").Status.Token; got != second.Status.Token {
		t.Errorf("token %d after %d: it was started anew", got, second.Status.Token)
	}

	_, err = k.Stop(t.Context(), "web", 0, "")
	must(t, err)
	k.waitState("web", droveway.MachineStopped)
	_, err = k.Start(t.Context(), "web", "")
	must(t, err)
	k.waitState("web", droveway.MachineRunning)
	_, err = k.Remove(t.Context(), "web", "")
	must(t, err)
	k.wait("nothing is left", func() bool {
		left, err := os.ReadDir(filepath.Join(dir, "volumes"))
		return err == nil && !slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == "web.root.raw" }) &&
			slices.Contains(k.events.of("machine/web"), "machine.removed")
	})
}

// A machine whose record its host cannot read is unknown, whatever it was, and not
// started anywhere; the host says so, and an event and a metric call somebody. Once the
// record is mended the machine is what it was.
func TestWithADamagedRecord(t *testing.T) {
	t.Parallel()
	b, dir, driver := bustest.Start(t), t.TempDir(), mem.New()
	k := onBus(t, b)
	k.run()
	must(t, k.fleet.Hosts.Create(t.Context(), "a", droveway.Host{Meta: droveway.Meta{Name: "a"}, Status: droveway.HostStatus{State: droveway.HostJoined}}))
	stop := agent(t, b, dir, driver, nil)
	k.waitHost("a", droveway.HostReady)
	blank := web(true)
	blank.Spec.Disks = []droveway.Disk{{Name: "root", SizeMiB: 2, Format: droveway.Raw}}
	_, err := k.Create(t.Context(), blank, "")
	must(t, err)
	before := k.waitState("web", droveway.MachineRunning)

	stop()
	path := filepath.Join(dir, "machines", "web.json")
	record, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, nil, 0o600))
	stop = agent(t, b, dir, driver, nil)
	m := k.waitState("web", droveway.MachineUnknown)
	if !strings.Contains(m.Status.Message, "its record was damaged and is set aside as "+dir) {
		t.Errorf("it says %q", m.Status.Message)
	}
	k.wait("the host tells of it", func() bool {
		h, _, err := k.fleet.Hosts.Get(t.Context(), "a")
		return err == nil && h.Status.State == droveway.HostReady && len(h.Status.Held) == 1 && h.Status.Held[0].Machine == "web" &&
			slices.Contains(k.events.of("host/a"), "host.holds") && slices.Contains(k.events.of("machine/web"), "machine.unknown") &&
			k.holds("a") == 1
	})

	stop()
	must(t, os.WriteFile(path, record, 0o600))
	agent(t, b, dir, driver, nil)
	after := k.waitState("web", droveway.MachineRunning)
	if after.Status.Token != before.Status.Token {
		t.Errorf("token %d after %d: it was started anew", after.Status.Token, before.Status.Token)
	}
	k.wait("the host is well", func() bool {
		h, _, err := k.fleet.Hosts.Get(t.Context(), "a")
		return err == nil && len(h.Status.Held) == 0 && k.holds("a") == 0
	})
}

// holds is how many machines the metric says that a host holds.
func (k *control) holds(host string) (n float64) {
	k.t.Helper()
	r := prometheus.NewRegistry()
	must(k.t, r.Register(k.metrics.held))
	all, err := r.Gather()
	must(k.t, err)
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == host {
				n += m.GetGauge().GetValue()
			}
		}
	}
	return n
}

// show asks the agent for the machine, as soon as it answers.
func (k *control) show() (o host.Observed) {
	k.t.Helper()
	k.wait("the agent answers", func() bool {
		ctx, cancel := context.WithTimeout(k.t.Context(), time.Second)
		defer cancel()
		var err error
		o, err = k.cfg.Hosts.Show(ctx, "a", "web")
		return err == nil
	})
	return o
}
