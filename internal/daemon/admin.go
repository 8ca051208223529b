package daemon

import (
	"context"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

// keepAdmin keeps a context file for the administrator in the data directory.
// Its token is made the first time, or if the file was lost; the address in it
// is always the present one.
func (s *server) keepAdmin(ctx context.Context, url string) error {
	path := filepath.Join(s.cfg.Data, "admin.json")
	admin, err := client.LoadContext(path)
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return err
	}
	known, err := s.knows(ctx, admin.Token)
	if err != nil {
		return err
	}
	if !known {
		if admin.Token, err = s.newAdmin(ctx); err != nil {
			return err
		}
	}
	next := client.Context{Server: url, Token: admin.Token, CA: string(s.authority.CA())}
	if next == admin {
		return nil
	}
	return next.Save(path)
}

func (s *server) knows(ctx context.Context, secret string) (bool, error) {
	if secret == "" {
		return false, nil
	}
	_, _, err := s.fleet.Tokens.Get(ctx, httpapi.TokenName(secret))
	if droveway.Is(err, droveway.NotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *server) newAdmin(ctx context.Context) (string, error) {
	secret, name := httpapi.NewToken()
	t := fleet.Token{Meta: droveway.Meta{Name: name, Created: time.Now().UTC()}, Role: httpapi.RoleAdmin}
	return secret, s.fleet.Tokens.Create(ctx, name, t)
}
