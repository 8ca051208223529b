package daemon_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/daemon"
	"github.com/droveway/droveway/internal/daemon/daemontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, kind droveway.Kind) {
	t.Helper()
	if droveway.KindOf(err) != kind {
		t.Errorf("error is of kind %q (%v), want %q", droveway.KindOf(err), err, kind)
	}
}

// done waits for a job, which must succeed.
func done(t *testing.T, c *client.Client, j droveway.Job, err error) droveway.Job {
	t.Helper()
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	j, err = c.WatchJob(ctx, j.Name, func(droveway.Job) {})
	must(t, err)
	if j.State != droveway.JobSucceeded {
		t.Fatalf("job %s is %s: %s", j.Name, j.State, j.Error)
	}
	return j
}

// running makes a fleet of two hosts with a machine m on host a.
func running(t *testing.T) (*daemontest.Fleet, *client.Client) {
	t.Helper()
	f := daemontest.New(t, "a", "b")
	c := f.Client()
	t.Cleanup(c.Close)
	ctx := context.Background()
	disk, err := os.Open(f.Image())
	must(t, err)
	defer disk.Close()
	must(t, c.UploadStream(ctx, "tiny", "u", disk, func(int64) {}))
	j, err := c.StartImport(ctx, "tiny", client.ImportRequest{Upload: "u", Repair: droveway.RepairNone, Check: droveway.CheckNone}, "")
	done(t, c, j, err)
	spec := droveway.MachineSpec{
		CPUs: 1, MemoryMiB: 128, Running: true, Host: "a",
		Disks: []droveway.Disk{{Name: "root", Image: "tiny", Format: droveway.Raw}},
	}
	j, err = c.CreateMachine(ctx, client.MachineRequest{Name: "m", Spec: spec}, "make-m")
	again, againErr := c.CreateMachine(ctx, client.MachineRequest{Name: "m", Spec: spec}, "make-m")
	must(t, againErr)
	if again.Name != j.Name {
		t.Errorf("one request made two jobs: %s and %s", j.Name, again.Name)
	}
	done(t, c, j, err)
	return f, c
}

func TestMachineMovesAndEventsTellOfIt(t *testing.T) {
	t.Parallel()
	_, c := running(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	j, err := c.MoveMachine(ctx, "m", client.MoveRequest{To: "b"}, "")
	j = done(t, c, j, err)
	var res client.MoveResult
	must(t, client.Decode(j.Result, &res))
	if res.From != "a" || res.To != "b" || res.Live != "b" || !res.Equal {
		t.Errorf("the move found %+v", res)
	}
	m, err := c.Machine(ctx, "m")
	must(t, err)
	if m.Status.Host != "b" || m.Status.State != droveway.MachineRunning {
		t.Errorf("the machine is %+v", m.Status)
	}
	seen := map[string]bool{}
	stop := errors.New("stop")
	err = c.Events(ctx, 1, "machine/m", func(_ uint64, e droveway.Event) error {
		seen[e.Type] = true
		if e.Type == "job.ended" && strings.Contains(string(e.Data), j.Name) {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Errorf("no event says that the move succeeded, but %v: %v", seen, err)
	}
}

func TestRestartOfTheServerKeepsEverything(t *testing.T) {
	t.Parallel()
	f, c := running(t)
	ctx := context.Background()
	before := everything(t, c)
	f.StopServer()
	_, err := c.Machines(ctx)
	wantKind(t, err, droveway.Unavailable)
	f.StartServer()
	// The same token is good, and the hosts come back by themselves.
	f.Await("both hosts are ready and m runs", func(ctx context.Context, c *client.Client) bool {
		hosts, err := c.Hosts(ctx)
		m, mErr := c.Machine(ctx, "m")
		return err == nil && mErr == nil && len(hosts) == 2 && m.Status.State == droveway.MachineRunning &&
			hosts[0].Status.State == droveway.HostReady && hosts[1].Status.State == droveway.HostReady
	})
	if d := cmp.Diff(before, everything(t, c)); d != "" {
		t.Error(d)
	}
	j, err := c.MoveMachine(ctx, "m", client.MoveRequest{To: "b"}, "")
	done(t, c, j, err)
}

// everything is what must outlive a restart, by name.
func everything(t *testing.T, c *client.Client) map[string]any {
	t.Helper()
	ctx := context.Background()
	all := map[string]any{}
	machines, err := c.Machines(ctx)
	must(t, err)
	for _, m := range machines {
		all["machine "+m.Name] = []any{m.Created, m.Spec.CPUs, m.Spec.Disks, m.Status.Host, m.Status.Token}
	}
	images, err := c.Images(ctx)
	must(t, err)
	for _, i := range images {
		all["image "+i.Name] = i
	}
	jobs, err := c.Jobs(ctx)
	must(t, err)
	for _, j := range jobs {
		all["job "+j.Name] = j.State
	}
	networks, err := c.Networks(ctx)
	must(t, err)
	for _, n := range networks {
		all["network "+n.Name] = n.Subnet.String()
	}
	return all
}

// SYSTEMS 1.4, for the wiring: the guests are those of the driver in memory.
func TestHostThatComesBackNeedsNoToken(t *testing.T) {
	t.Parallel()
	f, c := running(t)
	f.StopHost("a")
	f.StartHost("a", "")
	f.Await("m runs on a", func(ctx context.Context, _ *client.Client) bool {
		m, err := c.Machine(ctx, "m")
		return err == nil && m.Status.State == droveway.MachineRunning && m.Status.Host == "a"
	})
	j, err := c.StopMachine(context.Background(), "m", client.StopRequest{GraceSeconds: 1}, "")
	done(t, c, j, err)
}

func TestDirectoryInUse(t *testing.T) {
	t.Parallel()
	f := daemontest.New(t, "a")
	cfg := f.Config()
	cfg.Listen, cfg.BusListen = "127.0.0.1:0", "127.0.0.1:0"
	err := daemon.Server(context.Background(), cfg)
	wantKind(t, err, droveway.Conflict)
	if err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("the message is %v", err)
	}
	wantKind(t, daemon.Host(context.Background(), f.HostConfig("a", "")), droveway.Conflict)
}

func TestHostsThatMayNotJoin(t *testing.T) {
	t.Parallel()
	f := daemontest.New(t, "a")
	ctx := context.Background()
	spent := f.Token()
	cfg := f.HostConfig("b", spent)
	joined, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- daemon.Host(joined, cfg) }()
	f.Await("b is ready", func(ctx context.Context, c *client.Client) bool {
		h, err := c.Host(ctx, "b")
		return err == nil && h.Status.State == droveway.HostReady
	})
	cancel()
	must(t, <-ended)
	for name, c := range map[string]struct {
		host, token string
		want        droveway.Kind
	}{
		"no token":    {"c", "", droveway.Invalid},
		"wrong token": {"c", "dw_wrong", droveway.Permission},
		"spent token": {"c", spent, droveway.Permission},
		"taken name":  {"a", f.Token(), droveway.Exists},
	} {
		cfg := f.HostConfig(c.host, c.token)
		cfg.Data = filepath.Join(t.TempDir(), "host")
		err := daemon.Host(ctx, cfg)
		if !droveway.Is(err, c.want) {
			t.Errorf("%s: %v is of kind %q, want %q", name, err, droveway.KindOf(err), c.want)
		}
	}
}

// A host with the identity of another fleet is refused by the bus, at once.
func TestHostOfAnotherFleet(t *testing.T) {
	t.Parallel()
	mine, other := daemontest.New(t, "a"), daemontest.New(t, "a")
	mine.StopHost("a")
	cfg := mine.HostConfig("a", "")
	path := filepath.Join(cfg.Data, "identity", "identity.json")
	raw, err := os.ReadFile(path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the identity has mode %o: others may read its keys", info.Mode().Perm())
	}
	theirs, err := os.ReadFile(filepath.Join(other.HostConfig("a", "").Data, "identity", "identity.json"))
	must(t, err)
	// The right bus and its CA, the wrong key.
	must(t, os.WriteFile(path, swapKeys(t, raw, theirs), 0o600))
	wantKind(t, daemon.Host(context.Background(), cfg), droveway.Permission)
}

func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, cfg := range []daemon.ServerConfig{
		{Listen: "127.0.0.1:0"},
		{Data: t.TempDir(), Listen: "nowhere"},
		{Data: t.TempDir(), Listen: "127.0.0.1:0", BusListen: "x"},
	} {
		wantKind(t, daemon.Server(ctx, cfg), droveway.Invalid)
	}
	wantKind(t, daemon.Host(ctx, daemon.HostConfig{}), droveway.Invalid)
	damaged := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(damaged, "identity"), 0o700))
	must(t, os.WriteFile(filepath.Join(damaged, "identity", "identity.json"), []byte("{"), 0o600))
	wantKind(t, daemon.Host(ctx, daemon.HostConfig{Member: daemon.Member{Data: damaged}}), droveway.Invalid)
}
