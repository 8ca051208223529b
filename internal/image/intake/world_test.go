package intake

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/appliance/inside"
	"github.com/droveway/droveway/internal/image/source"
)

func TestMain(m *testing.M) {
	if inside.Called() { // the first process of an appliance
		inside.Main()
	}
	if os.Getenv(helperEnv) != "" {
		helpFetch()
		return
	}
	_ = flag.Set("test.parallel", "6") // disks and programs are waited for more than worked with
	debug.SetGCPercent(400)            // hundreds of imports that keep little
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startStore starts a bus without clients from outside, for as long as the test
// runs.
func startStore(t *testing.T) jetstream.JetStream {
	t.Helper()
	return startStoreIn(t, t.TempDir())
}

func startStoreIn(t *testing.T, dir string) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(s))
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}

// events notes what is published.
type events struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (e *events) Publish(_ context.Context, v droveway.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[string]bool{}
	}
	e.seen[v.Type+" "+v.Subject] = true
	return nil
}

// world is an intake with a library and a table of its own.
type world struct {
	*Intake
	dir    string
	events events
}

func newWorld(t *testing.T, js jetstream.JetStream) *world { return newWorldIn(t, js, t.TempDir()) }

func newWorldIn(t *testing.T, js jetstream.JetStream, dir string) *world {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: rand.Text(), Storage: jetstream.MemoryStorage, LimitMarkerTTL: time.Hour})
	must(t, err)
	return newWorldOn(t, kv, dir)
}

func newWorldOn(t *testing.T, kv jetstream.KeyValue, dir string) *world {
	t.Helper()
	w := &world{dir: dir}
	log := slog.New(slog.DiscardHandler)
	library, err := image.Open(w.dir, log)
	must(t, err)
	web := &http.Transport{}
	t.Cleanup(web.CloseIdleConnections)
	w.Intake, err = New(Config{
		Fleet:   &fleet.Fleet{Images: store.NewTable[droveway.Image](kv, "image")},
		Library: library, Jobs: job.NewManager(job.ManagerConfig{Jobs: kv, Log: log}), Events: &w.events, HTTP: source.NewClient(web), Patience: 5 * time.Second, Log: log,
	})
	must(t, err)
	for _, k := range w.Kinds() {
		w.cfg.Jobs.Register(k)
	}
	return w
}

// begin does what Start does, but for the job.
func (w *world) begin(t *testing.T, r Request) work {
	t.Helper()
	must(t, r.check())
	a, err := w.prepare(r, "begun")
	must(t, err)
	return work{w.Intake, a}
}

// memory is the journal of a job that nobody kills.
type memory struct{}

func (memory) Save(context.Context, *job.Record) error { return nil }

// do runs a job to its end.
func (k work) do(t *testing.T, ctx context.Context) droveway.Job {
	t.Helper()
	rec, err := job.NewRecord(k.steps())
	must(t, err)
	rec.Job.Name = "image-import-1"
	must(t, job.Execute(ctx, rec, k.steps(), job.Env{
		Journal: memory{}, Log: slog.New(slog.DiscardHandler), Retry: func(job.Failures) time.Duration { return time.Millisecond },
	}))
	return rec.Job
}

func result(t *testing.T, j droveway.Job) droveway.ImportResult {
	t.Helper()
	var r droveway.ImportResult
	if j.State != droveway.JobSucceeded {
		t.Fatalf("the job %s: %s", j.State, j.Error)
	}
	must(t, json.Unmarshal(j.Result, &r))
	return r
}

// left is what there is in the library and the table.
func (w *world) left(t *testing.T) (found []string) {
	t.Helper()
	err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, filepath.Base(path))
		}
		return err
	})
	must(t, err)
	images, err := w.cfg.Fleet.Images.List(context.Background())
	must(t, err)
	for _, i := range images {
		found = append(found, "record of "+i.Name)
	}
	return found
}

func (w *world) wantNothing(t *testing.T) {
	t.Helper()
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// disk is a raw disk of 2 MiB with an MBR signature and noise.
func disk() []byte { return diskOf(2 << 20) }

// diskOf is one of another size, of which one half is noise.
func diskOf(size int) []byte {
	b := make([]byte, size)
	for at, sum := 0, sha256.Sum256(nil); at < size/2; at, sum = at+len(sum), sha256.Sum256(sum[:]) {
		copy(b[at:], sum[:])
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func (w *world) wantImage(t *testing.T, name string, want []byte) droveway.Image {
	t.Helper()
	img, _, err := w.cfg.Fleet.Images.Get(t.Context(), name)
	must(t, err)
	if img.State != droveway.ImageReady || img.Job != "" || img.Source == nil {
		t.Errorf("image %+v", img)
	}
	got, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil || want != nil && !bytes.Equal(got, want) || img.SHA256 != sum(got) {
		t.Errorf("image %s: %d bytes differ from the %d of the source (%v)", name, len(got), len(want), err)
	}
	return img
}
