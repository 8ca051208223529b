package httpapi_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/httpapi"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/intake"
	"github.com/droveway/droveway/internal/image/survey"
	"github.com/droveway/droveway/internal/machine"
	"github.com/droveway/droveway/internal/migrate"
)

// world is an API over a real bus, with systems that only note what they are
// asked.
type world struct {
	fleet     *fleet.Fleet
	images    *image.Library
	conn      *bus.Conn
	authority *pki.Authority
	systems   *systems
	api       *httpapi.API
	server    *httptest.Server
	admin     *client.Client
	token     string
	stuck     atomic.Bool // the registrar
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := &world{systems: &systems{}}
	var err error
	w.authority, err = pki.Open(filepath.Join(dir, "pki"))
	must(t, err)
	b, err := bus.NewServer(bus.ServerConfig{Dir: filepath.Join(dir, "bus"), Listen: "127.0.0.1:0", PKI: w.authority, Log: log})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	w.conn, err = b.Connect(ctx)
	must(t, err)
	t.Cleanup(w.conn.Close)
	w.fleet, err = fleet.Open(ctx, w.conn)
	must(t, err)
	w.images, err = image.Open(filepath.Join(dir, "images"), log)
	must(t, err)
	jobs := job.NewManager(job.ManagerConfig{Jobs: w.fleet.Stores.Jobs, Log: log}) // nobody runs them
	imports, err := intake.New(intake.Config{Fleet: w.fleet, Library: w.images, Jobs: jobs, Events: w.conn, Log: log})
	must(t, err)
	w.api = httpapi.New(httpapi.Config{
		Fleet: w.fleet, Machines: w.systems, Moves: moves{w.systems}, Jobs: w.systems, Images: w.images, Intake: imports, Events: w.conn,
		Consoles: w.systems, Relations: w.relations(t), Registrar: registrar{w.authority, b, &w.stuck}, Version: "test", Log: log, Metrics: prometheus.NewRegistry(),
	})
	w.server = httptest.NewTLSServer(w.api.Handler())
	t.Cleanup(w.server.Close)
	w.token = w.newToken(t, fleet.Token{Role: httpapi.RoleAdmin})
	w.admin = w.client(t, w.token)
	return w
}

// keep puts an image into the library, as a job does before it shows it.
func (w *world) keep(t testing.TB, name string, disk []byte) droveway.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(path, disk, 0o600))
	src, err := survey.OpenAlone(path)
	must(t, err)
	defer src.Close()
	made := droveway.Image{Meta: droveway.Meta{Name: name}, Source: &droveway.ImageSource{Format: src.Format, Bytes: src.Bytes}}
	img, err := w.images.Make(context.Background(), made, image.Disk{Source: src, Disk: src.Disks[0], Path: path}, nil)
	must(t, err)
	return img
}

type registrar struct {
	*pki.Authority
	*bus.Server
	stuck *atomic.Bool // and revokes nothing
}

func (r registrar) Revoke(nkey string) error {
	if r.stuck.Load() {
		return droveway.Errorf(droveway.Unavailable, "the bus is stuck")
	}
	return r.Server.Revoke(nkey)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newToken puts a token into the table and gives its secret.
func (w *world) newToken(t testing.TB, token fleet.Token) string {
	t.Helper()
	secret, name := httpapi.NewToken()
	token.Name = name
	must(t, w.fleet.Tokens.Create(context.Background(), name, token))
	return secret
}

func (w *world) client(t testing.TB, token string) *client.Client {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})
	c, err := client.New(client.Context{Server: w.server.URL, Token: token, CA: string(ca)})
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// do makes a request as it stands, and gives status and body.
func (w *world) do(t testing.TB, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, w.server.URL+path, bytes.NewReader([]byte(body)))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+w.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.server.Client().Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

func wantKind(t testing.TB, err error, kind droveway.Kind) {
	t.Helper()
	if droveway.KindOf(err) != kind {
		t.Errorf("error is of kind %q (%v), want %q", droveway.KindOf(err), err, kind)
	}
}

// systems stands in for the machines, moves, jobs and consoles.
type systems struct {
	fail    error // what every operation returns
	key     string
	made    droveway.Machine
	grace   time.Duration
	move    migrate.Request
	restart migrate.RestartRequest
	resize  machine.Resize
	jobs    chan droveway.Job // what Watch sends
	log     string            // of every console
}

func (s *systems) job(kind, key string) (droveway.Job, error) {
	s.key = key
	return droveway.Job{Meta: droveway.Meta{Name: "job-1"}, Kind: kind, State: droveway.JobPending}, s.fail
}

func (s *systems) Create(_ context.Context, m droveway.Machine, key string) (droveway.Job, error) {
	s.made = m
	return s.job("machine-create", key)
}

func (s *systems) Start(_ context.Context, _, key string) (droveway.Job, error) {
	return s.job("machine-start", key)
}

func (s *systems) Stop(_ context.Context, _ string, grace time.Duration, key string) (droveway.Job, error) {
	s.grace = grace
	return s.job("machine-stop", key)
}

func (s *systems) Remove(_ context.Context, _, key string) (droveway.Job, error) {
	return s.job("machine-remove", key)
}

func (s *systems) Resize(_ context.Context, r machine.Resize, key string) (droveway.Job, error) {
	s.resize = r
	return s.job(machine.KindResize, key)
}

func (s *systems) PlanResize(_ context.Context, r machine.Resize) (machine.ResizePlan, error) {
	return machine.ResizePlan{Machine: r.Machine, After: r.Size}, s.fail
}

func (s *systems) Get(context.Context, string) (droveway.Job, error) { return s.job("", "") }
func (s *systems) List(context.Context) ([]droveway.Job, error)      { return nil, s.fail }
func (s *systems) Cancel(context.Context, string) error              { return s.fail }

func (s *systems) Watch(ctx context.Context, _ string, fn func(droveway.Job) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case j := <-s.jobs:
			if err := fn(j); err != nil {
				return err
			}
		}
	}
}

func (s *systems) Console(_ context.Context, _ string, r host.Console) (host.ConsoleData, error) {
	return host.ConsoleData{Data: []byte(s.log[r.Offset:]), Next: int64(len(s.log))}, nil
}

type moves struct{ *systems }

func (s moves) Start(_ context.Context, r migrate.Request, key string) (droveway.Job, error) {
	s.move = r
	return s.job(migrate.Kind, key)
}

func (s moves) Plan(_ context.Context, r migrate.Request) (migrate.Plan, error) {
	return migrate.Plan{Machine: r.Machine, To: r.To}, s.fail
}

func (s moves) Rate(_ context.Context, machine string, rate int64) (droveway.Job, error) {
	s.move = migrate.Request{Machine: machine, Rate: rate}
	return s.job(migrate.Kind, "")
}

func (s moves) Restart(_ context.Context, r migrate.RestartRequest, key string) (droveway.Job, error) {
	s.restart = r
	return s.job(migrate.RestartKind, key)
}

func (s moves) PlanRestart(_ context.Context, r migrate.RestartRequest) (migrate.RestartPlan, error) {
	return migrate.RestartPlan{Machine: r.Machine, Mode: r.Mode, To: r.To}, s.fail
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
