package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
)

const (
	// A peer that vanished without a word is noticed after pingEvery times
	// pingMissed.
	pingEvery  = 5 * time.Second
	pingMissed = 2

	dialTime = 5 * time.Second

	// Reconnecting waits between these two, growing, with a random part: a
	// hundred hosts must not come back in the same instant.
	reconnectMin = 100 * time.Millisecond
	reconnectMax = 2 * time.Second
)

// Credentials are all a host or a probe needs to use the bus. Whoever keeps them keeps them
// with mode 0600.
type Credentials struct {
	URL  string `json:"url"`            // one or more, with commas between
	JWT  string `json:"jwt"`            // from Server.HostCredentials or ProbeCredentials
	Seed string `json:"seed"`           // of the host's user nkey
	CA   []byte `json:"ca"`             // PEM
	Name string `json:"name"`           // of the host
	Role string `json:"role,omitempty"` // RoleProbe; empty: the host itself
}

// inbox is where answers arrive. Everybody has its own: the usual common one
// would let every host read the answers to all. No host's name has a _ in it.
func (c Credentials) inbox() string {
	if c.Role != "" {
		return inboxPrefix(c.Role + "_" + c.Name)
	}
	return inboxPrefix(c.Name)
}

// Conn is a connection to the bus. It comes back by itself whenever it is lost;
// in the meantime whatever is sent fails at once with Unavailable, so that
// nothing is carried out late that its sender believes failed.
type Conn struct {
	NC *nats.Conn
	JS jetstream.JetStream

	log     *slog.Logger
	metrics *metrics
	closed  chan struct{}
	once    *sync.Once
}

// Dial connects a host or a probe. It tries until ctx ends; an identity that the bus
// refuses is Permission at once.
func Dial(ctx context.Context, c Credentials, log *slog.Logger) (*Conn, error) {
	pair, err := nkeys.FromSeed([]byte(c.Seed))
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "credentials of %s: the seed is damaged: %w", c.Name, err)
	}
	secure, err := tlsOption(c.CA)
	if err != nil {
		return nil, err
	}
	return dial(ctx, c.URL, newMetrics(nil), log,
		nats.Name(c.Name), nats.CustomInboxPrefix(c.inbox()), identity(c.JWT, pair), secure)
}

func identity(text string, pair nkeys.KeyPair) nats.Option {
	return nats.UserJWT(
		func() (string, error) { return text, nil },
		func(nonce []byte) ([]byte, error) { return pair.Sign(nonce) },
	)
}

func tlsOption(ca []byte) (nats.Option, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, droveway.Errorf(droveway.Invalid, "credentials of the bus: no certificate of the authority in them")
	}
	return nats.Secure(&tls.Config{RootCAs: pool, ServerName: tlsName, MinVersion: tls.VersionTLS12}), nil
}

func dial(ctx context.Context, url string, m *metrics, log *slog.Logger, opts ...nats.Option) (*Conn, error) {
	c := &Conn{log: log, metrics: m, closed: make(chan struct{}), once: &sync.Once{}}
	opts = append(opts,
		nats.Timeout(dialTime),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingMissed),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1),
		nats.ClosedHandler(func(*nats.Conn) { c.once.Do(func() { close(c.closed) }) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: closed on purpose
				log.Warn("connection to the bus lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to the bus again", "address", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("bus", "error", err)
		}),
	)
	nc, err := connect(ctx, url, log, opts)
	if err != nil {
		return nil, err
	}
	c.NC = nc
	c.JS, err = jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, droveway.Errorf(droveway.Internal, "use JetStream: %w", err)
	}
	return c, nil
}

// connect tries until it succeeds, the identity is refused, or ctx ends.
func connect(ctx context.Context, url string, log *slog.Logger, opts []nats.Option) (*nats.Conn, error) {
	for attempt := 1; ; attempt++ {
		nc, err := nats.Connect(url, opts...)
		switch {
		case err == nil:
			return nc, nil
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
			return nil, droveway.Errorf(droveway.Permission, "the bus at %s refuses this identity: join again: %w", url, err)
		}
		if attempt == 1 {
			log.Warn("the bus does not answer; trying on", "address", url, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, droveway.Errorf(droveway.Unavailable, "connect to the bus at %s: %w", url, err)
		case <-time.After(reconnectDelay(attempt)):
		}
	}
}

func reconnectDelay(attempt int) time.Duration {
	d := reconnectMin << min(attempt, 10)
	return min(d, reconnectMax)/2 + rand.N(min(d, reconnectMax)/2)
}

// Connect connects the server itself, which may do everything. It waits for the
// bus to be ready, and makes the stream of events if it is missing.
func (s *Server) Connect(ctx context.Context) (*Conn, error) {
	select {
	case <-s.ready:
	case <-s.failed:
		return nil, droveway.Errorf(droveway.Unavailable, "the bus does not run: %w", s.reason())
	case <-ctx.Done():
		return nil, droveway.Errorf(droveway.Unavailable, "connect to the bus: it is not ready: %w", context.Cause(ctx))
	}
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := makeEvents(ctx, c.JS); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (s *Server) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		return errors.New("it was ended")
	}
	return s.cause
}

func (s *Server) dial(ctx context.Context) (*Conn, error) {
	text, pair, err := serverIdentity(s.account)
	if err != nil {
		return nil, err
	}
	opts := []nats.Option{nats.Name("server"), identity(text, pair)}
	if s.cfg.External == "" {
		s.mu.Lock()
		ns := s.nats
		s.mu.Unlock()
		return dial(ctx, "", s.metrics, s.cfg.Log, append(opts, nats.InProcessServer(ns))...)
	}
	secure, err := tlsOption(s.cfg.PKI.CA())
	if err != nil {
		return nil, err
	}
	return dial(ctx, s.cfg.External, s.metrics, s.cfg.Log, append(opts, secure)...)
}

// Close ends the connection for good.
func (c *Conn) Close() { c.NC.Close() }

func inboxPrefix(host string) string { return "_INBOX_" + host }
