package httpapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

// joined joins and gives what it takes to reach the bus.
func (w *world) joined(t *testing.T, role, name string) bus.Credentials {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	r := joinRequest(t, w.newToken(t, fleet.Token{Role: role}), name)
	r.Role = role
	r.NKey, err = pair.PublicKey()
	must(t, err)
	got, err := w.client(t, "").Join(context.Background(), r)
	must(t, err)
	seed, err := pair.Seed()
	must(t, err)
	return bus.Credentials{Name: name, Role: role, URL: got.BusURL, JWT: got.JWT, Seed: string(seed), CA: []byte(got.CA)}
}

// Whoever was taken out of the fleet is shut out of its bus, and whoever could not
// be shut out is in the fleet still, to be taken out again.
func TestRemovedIsShutOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for role, remove := range map[string]func(context.Context, string) error{
		httpapi.RoleHost:  func(ctx context.Context, name string) error { return w.admin.RemoveHost(ctx, name, false) },
		httpapi.RoleProbe: w.admin.RemoveProbe,
	} {
		name := "gone-" + role
		cred := w.joined(t, role, name)
		dial := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c, err := bus.Dial(ctx, cred, bustest.Log())
			if err == nil {
				c.Close()
			}
			return err
		}
		must(t, dial())
		w.stuck.Store(true)
		wantKind(t, remove(context.Background(), name), droveway.Unavailable)
		w.stuck.Store(false)
		must(t, remove(context.Background(), name))
		if err := dial(); !droveway.Is(err, droveway.Permission) {
			t.Errorf("a removed %s reaches the bus: %v", role, err)
		}
	}
}
