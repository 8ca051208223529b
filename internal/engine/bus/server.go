package bus

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
)

// ServerConfig says how a Server is to be.
type ServerConfig struct {
	Dir       string                // seeds, certificate and streams
	Listen    string                // host:port of the embedded server; port 0: any free
	Advertise []string              // host or host:port under which hosts reach it; empty: Listen
	PKI       *pki.Authority        // issues the bus's certificate
	Log       *slog.Logger          // keys host, verb
	Metrics   prometheus.Registerer // nil: none

	External     string // URL of an external NATS instead of the embedded one
	ExternalSeed string // file with the seed of its account; empty: that in Dir
}

// Server is the server's side of the bus: it runs the embedded NATS server, or
// watches over the external one, and signs identities.
type Server struct {
	cfg     ServerConfig
	keys    keyring
	account nkeys.KeyPair // signs users
	metrics *metrics
	ready   chan struct{}
	failed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	nats  *natsserver.Server
	cause error // why it failed
}

// NewServer makes a Server. The seeds of the bus's identities are read, and made
// the first time; nothing is started.
func NewServer(cfg ServerConfig) (*Server, error) {
	s := &Server{
		cfg: cfg, ready: make(chan struct{}), failed: make(chan struct{}),
		metrics: newMetrics(cfg.Metrics),
	}
	if cfg.External == "" {
		if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "address of the bus %q: give host:port: %w", cfg.Listen, err)
		}
	}
	if cfg.ExternalSeed != "" {
		pair, err := readSeed(cfg.ExternalSeed)
		s.account = pair
		return s, err
	}
	keys, err := openKeys(cfg.Dir)
	s.keys, s.account = keys, keys.account
	return s, err
}

// Ready is closed once connections are taken.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run runs the bus until ctx ends. Of an external bus it only makes sure that it
// can be used: a NATS before 2.11, or one without JetStream, is Unsupported.
func (s *Server) Run(ctx context.Context) error {
	err := s.run(ctx)
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cause = err
		close(s.failed)
	})
	return err
}

func (s *Server) run(ctx context.Context) error {
	if s.cfg.External != "" {
		return s.runExternal(ctx)
	}
	ns, fatal, err := s.newNATS()
	if err != nil {
		return err
	}
	ns.Start()
	defer func() { ns.Shutdown(); ns.WaitForShutdown() }()
	if err := awaitStart(ctx, ns, fatal); err != nil {
		return err
	}
	s.mu.Lock()
	s.nats = ns
	s.mu.Unlock()
	close(s.ready)
	s.cfg.Log.Info("bus listens", "address", ns.Addr().String())
	<-ctx.Done()
	return nil
}

func (s *Server) newNATS() (*natsserver.Server, <-chan string, error) {
	host, port, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return nil, nil, droveway.Errorf(droveway.Invalid, "address of the bus %q: %w", s.cfg.Listen, err)
	}
	text, err := prepare(embeddedHead(host, port), s.cfg.Dir, s.keys, s.cfg.PKI)
	if err != nil {
		return nil, nil, err
	}
	opts := &natsserver.Options{NoSigs: true}
	if err := opts.ProcessConfigString(text); err != nil {
		return nil, nil, droveway.Errorf(droveway.Internal, "configure the bus: %w", err)
	}
	ns, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, nil, droveway.Errorf(droveway.Internal, "make the bus: %w", err)
	}
	log := &natsLog{log: s.cfg.Log, fatal: make(chan string, 1)}
	ns.SetLoggerV2(log, false, false, false)
	return ns, log.fatal, nil
}

const (
	startTime = time.Minute // how long the server may take to read its streams
	startPoll = 50 * time.Millisecond
)

func awaitStart(ctx context.Context, ns *natsserver.Server, fatal <-chan string) error {
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		select {
		case why := <-fatal:
			return droveway.Errorf(droveway.Unavailable, "start the bus: %s", why)
		case <-ctx.Done():
			return nil
		default:
		}
		if ns.ReadyForConnections(startPoll) {
			return nil
		}
	}
	return droveway.Errorf(droveway.Unavailable, "the bus does not take connections after %s", startTime)
}

// URL is what hosts dial: one or more NATS URLs with commas between. That of an
// embedded bus that listens on any free port is known once it is Ready.
func (s *Server) URL() string {
	if s.cfg.External != "" {
		return s.cfg.External
	}
	listen := s.cfg.Listen
	s.mu.Lock()
	if s.nats != nil {
		listen = s.nats.Addr().String()
	}
	s.mu.Unlock()
	host, port, _ := net.SplitHostPort(listen) // checked by NewServer
	if len(s.cfg.Advertise) == 0 {
		return "tls://" + net.JoinHostPort(host, port)
	}
	urls := make([]string, len(s.cfg.Advertise))
	for i, a := range s.cfg.Advertise {
		urls[i] = "tls://" + withPort(a, port)
	}
	return strings.Join(urls, ",")
}

func withPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}

// SeedFile is where the bus keeps the seed that signs identities; an operator
// copies it for ServerConfig.ExternalSeed.
func SeedFile(dir string) string { return filepath.Join(dir, accountSeed) }
