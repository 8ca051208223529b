package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
)

// The roles of tokens.
const (
	RoleAdmin = "admin" // everything
	RoleAgent = "agent" // a host: downloads of images, and its certificate
	RoleHost  = "host"  // may join, once
	RoleProbe = "probe" // a probe may join, once
)

// access says who may use an operation.
type access int

const (
	anybody access = iota
	admins
	agents // and admins
)

// bearer is the name of the security scheme in the description.
const bearer = "token"

// NewToken makes a secret, and its name in the table of tokens, from which the
// secret cannot be found.
func NewToken() (secret, name string) {
	secret = "dw_" + rand.Text() + rand.Text()
	return secret, TokenName(secret)
}

// TokenName is the name of a secret in the table of tokens.
func TokenName(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// admit gives nil if the bearer of the header may use an operation.
func (a *API) admit(ctx context.Context, need access, authorization string) *problem {
	if need == anybody {
		return nil
	}
	secret, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok || secret == "" {
		return unauthorized("no token: send the header Authorization: Bearer with one")
	}
	t, _, err := a.cfg.Fleet.Tokens.Get(ctx, TokenName(secret))
	switch {
	case droveway.Is(err, droveway.NotFound):
		return unauthorized("the token is not known to this server")
	case err != nil:
		return a.problemOf(err, "look up the token")
	case expired(t):
		return unauthorized("the token has expired: ask for a new one")
	case t.Role == RoleAdmin, t.Role == RoleAgent && need == agents:
		return nil
	}
	return newProblem(http.StatusForbidden, droveway.Permission, "a token of role "+t.Role+" may not do this: use one of role "+RoleAdmin)
}

func expired(t fleet.Token) bool { return !t.Expires.IsZero() && time.Now().After(t.Expires) }

func unauthorized(detail string) *problem {
	return newProblem(http.StatusUnauthorized, droveway.Permission, detail)
}

// guard admits the requests of an operation.
func (a *API) guard(need access) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if p := a.admit(ctx.Context(), need, ctx.Header("Authorization")); p != nil {
			_, w := humago.Unwrap(ctx)
			writeProblem(w, p)
			return
		}
		next(ctx)
	}
}
