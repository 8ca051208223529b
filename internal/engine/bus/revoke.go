package bus

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
)

// revokedFile lists the identities that are good no more. The bus needs it
// before it can read any table.
const revokedFile = "revoked.json"

// revoked is when each identity, a public user key, was revoked.
type revoked map[string]time.Time

func readRevoked(dir string) (revoked, error) {
	r := revoked{}
	b, err := os.ReadFile(filepath.Join(dir, revokedFile))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "revoked identities of the bus, %s: %w: restore it from a backup", filepath.Join(dir, revokedFile), err)
	}
	return r, nil
}

func (r revoked) into(account *jwt.AccountClaims) {
	for key, at := range r {
		account.RevokeAt(key, at)
	}
}

// Revoke makes the identity of a public user key worth nothing: its connections
// are closed, and it gets no other. It can be repeated. An external bus does not
// hear of it before it is given a new configuration.
func (s *Server) Revoke(nkeyPublic string) error {
	if !nkeys.IsValidPublicUserKey(nkeyPublic) {
		return droveway.Errorf(droveway.Invalid, "revoke %q: it is no public user key", nkeyPublic)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := readRevoked(s.cfg.Dir)
	if err != nil {
		return err
	}
	if _, ok := r[nkeyPublic]; !ok {
		r[nkeyPublic] = time.Now()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "revoke an identity of the bus: %w", err)
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return droveway.Errorf(droveway.Internal, "revoke an identity of the bus: %w", err)
	}
	if err := writeFile(filepath.Join(s.cfg.Dir, revokedFile), b); err != nil {
		return err
	}
	if s.cfg.External != "" {
		s.cfg.Log.Warn("an identity was revoked, but an external bus takes it until it has the new configuration: give it what droveway server bus-config prints, and reload it")
		return nil
	}
	if s.nats == nil {
		return nil // it starts with the list
	}
	return s.tell(r)
}

// tell gives the running bus the account with the identities revoked.
func (s *Server) tell(r revoked) error {
	c, err := s.keys.claims(r)
	if err != nil {
		return err
	}
	account, err := jwt.DecodeAccountClaims(c.account)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "revoke an identity of the bus: %w", err)
	}
	if err := s.nats.AccountResolver().Store(c.accountID, c.account); err != nil {
		return droveway.Errorf(droveway.Internal, "revoke an identity of the bus: %w", err)
	}
	running, err := s.nats.LookupAccount(c.accountID)
	if errors.Is(err, natsserver.ErrMissingAccount) {
		return nil
	}
	if err != nil {
		return droveway.Errorf(droveway.Internal, "revoke an identity of the bus: %w", err)
	}
	s.nats.UpdateAccountClaims(running, account)
	return nil
}
