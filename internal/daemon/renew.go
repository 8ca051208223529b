package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/engine/pki"
)

// Between two looks at a certificate that is to be renewed.
const (
	renewMin = time.Second
	renewMax = time.Hour
	// After a failure, whatever is left: the server is not to be flooded.
	renewAgain = 10 * time.Second
)

// renewal keeps the certificate of a host, for the traffic between hosts, from ending:
// with a third of its life to go it asks the server for the next one. The key stays, so
// that whoever reads the files meanwhile finds a pair.
type renewal struct {
	name string
	dir  string // of the certificates
	api  *client.Client
	log  *slog.Logger
}

// run looks after the certificate until ctx ends.
func (r *renewal) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.look(ctx)):
		}
	}
}

// look renews the certificate if that is due, and says when to look again.
func (r *renewal) look(ctx context.Context) time.Duration {
	due, ends, err := r.times()
	if errors.Is(err, fs.ErrNotExist) {
		return renewMax // a host that talks to others in the clear
	}
	if err == nil && time.Now().Before(due) {
		return clamp(time.Until(due))
	}
	if err == nil {
		err = r.renew(ctx)
	}
	if err == nil {
		r.log.Info("renewed the certificate of this host", "ended", ends)
	} else if ctx.Err() == nil {
		r.log.Warn("the certificate of this host is not renewed yet: machines cannot move to or from it once it ends", "ends", ends, "error", err)
	}
	if err != nil {
		return max(clamp(time.Until(ends)/20), renewAgain)
	}
	return clamp(time.Until(ends) / 20)
}

func clamp(d time.Duration) time.Duration { return min(max(d, renewMin), renewMax) }

func (r *renewal) times() (due, ends time.Time, err error) {
	cert, err := os.ReadFile(filepath.Join(r.dir, "server-cert.pem"))
	if err != nil {
		return due, ends, err
	}
	return pki.Renewal(cert)
}

func (r *renewal) renew(ctx context.Context) error {
	key, err := os.ReadFile(filepath.Join(r.dir, "server-key.pem"))
	if err != nil {
		return err
	}
	csr, err := pki.Request(r.name, key)
	if err != nil {
		return err
	}
	got, err := r.api.RenewCertificate(ctx, client.RenewRequest{CSR: string(csr)})
	if err != nil {
		return err
	}
	// The server's side last: it is the one that is looked at.
	for _, name := range []string{"client-cert.pem", "server-cert.pem"} {
		if err := pki.WriteFile(filepath.Join(r.dir, name), []byte(got.Cert), 0o600); err != nil {
			return err
		}
	}
	return nil
}
