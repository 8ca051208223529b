package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

// bucket can only be read: a bus would make each run of the fuzzer different.
type bucket struct {
	jetstream.KeyValue
	values map[string][]byte
}

type entry struct {
	jetstream.KeyValueEntry
	value []byte
}

func (e entry) Value() []byte    { return e.value }
func (e entry) Revision() uint64 { return 1 }

func (b bucket) Get(_ context.Context, key string) (jetstream.KeyValueEntry, error) {
	if v, ok := b.values[key]; ok {
		return entry{value: v}, nil
	}
	return nil, jetstream.ErrKeyNotFound
}

// FuzzJoin sends bytes to the one operation that needs no token. The request that
// is right in all but its address holds a good join token, so the fuzzer gets
// past it; none may get in, and every answer is a problem.
func FuzzJoin(f *testing.F) {
	authority, err := pki.Open(f.TempDir())
	must(f, err)
	secret, name := httpapi.NewToken()
	token, err := json.Marshal(fleet.Token{Role: httpapi.RoleHost})
	must(f, err)
	kv := bucket{values: map[string][]byte{"token." + name: token}}
	api := httpapi.New(httpapi.Config{
		Fleet: &fleet.Fleet{
			Tokens: store.NewTable[fleet.Token](kv, "token"),
			Hosts:  store.NewTable[droveway.Host](kv, "host"),
		},
		Registrar: unsigned{authority}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	good := joinRequest(f, secret, "a")
	good.Address = "0.0.0.0"
	raw, err := json.Marshal(good)
	must(f, err)
	f.Add(raw)
	f.Add(bytes.ReplaceAll(raw, []byte("0.0.0.0"), []byte("192.0.2.1")))
	f.Add([]byte(`{"token":null,"name":{}}`))
	f.Add([]byte(`[]`))
	f.Add([]byte{0xff})
	handler := api.Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/join", bytes.NewReader(body)))
		if rec.Code < 400 || rec.Code >= 500 {
			t.Errorf("status %d for %q: %s", rec.Code, body, rec.Body)
		}
		var p client.Problem
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Kind == "" || p.Detail == "" {
			t.Errorf("no problem for %q: %s", body, rec.Body)
		}
	})
}

// unsigned reads certificate requests and signs no identity for the bus.
type unsigned struct{ *pki.Authority }

func (unsigned) URL() string { return "" }

func (unsigned) HostCredentials(string, string) (string, error) {
	return "", droveway.Errorf(droveway.Invalid, "nobody gets in")
}

func (unsigned) ProbeCredentials(string, string) (string, error) {
	return "", droveway.Errorf(droveway.Invalid, "nobody gets in")
}

func (unsigned) Revoke(string) error { return nil }
