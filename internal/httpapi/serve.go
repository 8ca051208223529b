package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/droveway/droveway"
)

const (
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	// stopTime is how long requests may take to end once the server stops.
	stopTime = 5 * time.Second
)

// Serve answers on a listener, over TLS, until ctx ends. Streams end at once,
// other requests have a little time.
func (a *API) Serve(ctx context.Context, ln net.Listener, cert tls.Certificate) error {
	srv := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug), // broken connections
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}},
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		close(a.stopping)
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if srv.Shutdown(after) != nil {
			_ = srv.Close() // cuts what is left
		}
	})
	err := srv.ServeTLS(ln, "", "")
	if stop() { // it failed by itself
		return droveway.Errorf(droveway.Unavailable, "serve the API on %s: %w", ln.Addr(), err)
	}
	<-stopped
	if !errors.Is(err, http.ErrServerClosed) {
		return droveway.Errorf(droveway.Unavailable, "serve the API on %s: %w", ln.Addr(), err)
	}
	return nil
}
