package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/image/intake"
	"github.com/droveway/droveway/internal/machine"
	"github.com/droveway/droveway/internal/migrate"
)

// Machines makes machines and changes them, each by a job.
type Machines interface {
	Create(ctx context.Context, m droveway.Machine, requestID string) (droveway.Job, error)
	Start(ctx context.Context, name, requestID string) (droveway.Job, error)
	Stop(ctx context.Context, name string, grace time.Duration, requestID string) (droveway.Job, error)
	Remove(ctx context.Context, name, requestID string) (droveway.Job, error)
	Resize(ctx context.Context, r machine.Resize, requestID string) (droveway.Job, error)
	PlanResize(ctx context.Context, r machine.Resize) (machine.ResizePlan, error)
}

// Moves moves machines.
type Moves interface {
	Plan(ctx context.Context, r migrate.Request) (migrate.Plan, error)
	Start(ctx context.Context, r migrate.Request, requestID string) (droveway.Job, error)
	Rate(ctx context.Context, machine string, rate int64) (droveway.Job, error)
	PlanRestart(ctx context.Context, r migrate.RestartRequest) (migrate.RestartPlan, error)
	Restart(ctx context.Context, r migrate.RestartRequest, requestID string) (droveway.Job, error)
}

// Jobs knows the jobs.
type Jobs interface {
	Get(ctx context.Context, name string) (droveway.Job, error)
	List(ctx context.Context) ([]droveway.Job, error)
	Cancel(ctx context.Context, name string) error
	Watch(ctx context.Context, name string, fn func(droveway.Job) error) error
}

// Images keeps the bytes of images.
type Images interface {
	Open(name string) (*os.File, droveway.Image, error)
	List() ([]droveway.Image, error)
	Remove(name string) error
}

// Intake brings images in by a job, from uploads and from addresses.
type Intake interface {
	Plan(ctx context.Context, r intake.Request) (droveway.ImportPlan, error)
	Start(ctx context.Context, r intake.Request, requestID string) (droveway.Job, error)
	Uploaded(name, upload string) (int64, error)
	Receive(ctx context.Context, name, upload string, offset, size int64, from io.Reader) (int64, error)
	Abandon(name, upload string) error
}

// Events is the record of what happens.
type Events interface {
	droveway.Publisher
	Events(ctx context.Context, since uint64, fn func(seq uint64, e droveway.Event) error) error
}

// Consoles reads the logs of serial consoles.
type Consoles interface {
	Console(ctx context.Context, hostName string, r host.Console) (host.ConsoleData, error)
}

// Registrar gives a joining host or probe its identities.
type Registrar interface {
	CA() []byte
	Sign(csrPEM []byte, name string, addrs []string) (certPEM []byte, err error)
	HostCredentials(host, nkeyPublic string) (jwt string, err error)
	ProbeCredentials(host, nkeyPublic string) (jwt string, err error)
	Revoke(nkeyPublic string) error
	URL() string // of the bus
}

// Config is what the API stands on.
type Config struct {
	Fleet     *fleet.Fleet
	Machines  Machines
	Moves     Moves
	Jobs      Jobs
	Images    Images
	Intake    Intake
	Origins   Origins
	Events    Events
	Consoles  Consoles
	Relations Relations
	Registrar Registrar
	Version   string
	Log       *slog.Logger
	Metrics   *prometheus.Registry
}

// API is the HTTP API.
type API struct {
	cfg      Config
	huma     huma.API
	mux      *http.ServeMux
	metrics  *metrics
	stopping chan struct{} // closed when streams are to end
	networks sync.Mutex    // one network is made at a time: they must not share a VNI
}

// bodyMax bounds every request but the upload of an image, in bytes.
const bodyMax = 1 << 20

// New makes the API; it serves nothing yet.
func New(cfg Config) *API {
	a := &API{cfg: cfg, mux: http.NewServeMux(), metrics: newMetrics(cfg.Metrics), stopping: make(chan struct{})}
	conf := huma.DefaultConfig("Droveway", cfg.Version)
	conf.Info.Description = "Moves machines without stopping them."
	conf.DocsPath, conf.SchemasPath, conf.CreateHooks = "", "", nil
	conf.RejectUnknownQueryParameters = true
	conf.Transformers = []huma.Transformer{asProblem}
	conf.Components.SecuritySchemes = map[string]*huma.SecurityScheme{bearer: {Type: "http", Scheme: "bearer"}}
	a.huma = humago.New(a.mux, conf)
	a.routes()
	return a
}

func (a *API) routes() {
	a.hostRoutes()
	a.imageRoutes()
	a.importRoutes()
	a.originRoutes()
	a.machineRoutes()
	a.restartRoutes()
	a.resizeRoutes()
	a.networkRoutes()
	a.jobRoutes()
	a.eventRoutes()
	a.joinRoutes()
	a.renewRoutes()
	a.relationRoutes()
	a.relationUseRoutes()
	a.probeRoutes()
	a.plainRoutes()
}

// Handler is the whole API.
func (a *API) Handler() http.Handler { return a.recovered(a.mux) }

// publish tells what the API itself has done. The deed is done, so a record
// that cannot be kept is only logged.
func (a *API) publish(ctx context.Context, kind, subject string) {
	e := droveway.Event{Type: kind, Subject: subject, Source: "server"}
	if err := a.cfg.Events.Publish(context.WithoutCancel(ctx), e); err != nil {
		a.cfg.Log.Warn("event not recorded", "type", kind, "subject", subject, "error", err)
	}
}
