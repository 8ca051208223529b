package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/machine"
	"github.com/droveway/droveway/internal/nbd"
)

// listenDisks opens the port where hosts read origins. If the API takes any port
// that is free, so does this.
func (s *server) listenDisks() error {
	at := s.cfg.NBDListen
	if at == "" {
		port := "7424"
		if strings.HasSuffix(s.cfg.Listen, ":0") {
			port = "0"
		}
		var err error
		if at, err = besides(s.cfg.Listen, port); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "listen for the hosts that read disks: %w", err)
	}
	s.disks = ln
	return nil
}

// served says where hosts find the exports of origins.
func (s *server) served() machine.Served {
	_, port, _ := net.SplitHostPort(s.disks.Addr().String()) // the address of a listener has a port
	return machine.Served{Port: port, Peer: serverName}
}

// serveDisks serves origins to hosts, and to nobody else: who has no certificate of
// the fleet is turned away, and who does not know the name of an origin gets none.
func (s *server) serveDisks(ctx context.Context, cert tls.Certificate) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority.CA())
	server := nbd.Server{Open: s.origins.Open, Log: s.cfg.Log, TLS: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}}
	return server.Serve(ctx, s.disks)
}

const (
	originLook  = 10 * time.Minute // between two sweeps
	originSpare = time.Hour        // how long an origin may be unused
)

// keepOrigins removes the origins that no machine is filled from.
func (s *server) keepOrigins(ctx context.Context) error {
	tick := time.NewTicker(originLook)
	defer tick.Stop()
	for {
		if err := s.sweepOrigins(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("origins that nobody needs stay for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *server) sweepOrigins(ctx context.Context) error {
	machines, err := s.fleet.Machines.List(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for i := range machines {
		for _, d := range machines[i].Spec.Disks {
			used[d.Origin] = true
		}
	}
	return s.origins.Sweep(func(id string) bool { return used[id] }, originSpare)
}
