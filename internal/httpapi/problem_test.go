package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

func TestErrorsKeepTheirKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, kind := range []droveway.Kind{
		droveway.Invalid, droveway.NotFound, droveway.Exists, droveway.Conflict,
		droveway.Unsupported, droveway.Permission, droveway.Unavailable, droveway.Internal,
	} {
		w.systems.fail = droveway.Errorf(kind, "what is wrong with %s", kind)
		_, err := w.admin.Job(context.Background(), "job-1")
		wantKind(t, err, kind)
		if err == nil || err.Error() != "what is wrong with "+string(kind) {
			t.Errorf("the message became %q", err)
		}
	}
	w.systems.fail = errors.New("no kind at all")
	_, err := w.admin.Job(context.Background(), "job-1")
	wantKind(t, err, droveway.Internal)

	// SYSTEMS 1.2
	w.systems.fail = droveway.Missing("kvm", "no host has kvm")
	_, err = w.admin.Job(context.Background(), "job-1")
	if e, ok := errors.AsType[*droveway.Error](err); !ok || e.Feature != "kvm" {
		t.Errorf("the missing feature is not named: %#v", err)
	}
}

func TestRequestsThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	machine := `{"name":"m","spec":{"cpus":1,"memory_mib":512,"running":true,"disks":[]}}`
	for name, c := range map[string]struct{ method, path, body, want string }{
		"unknown field":      {"POST", "/v1/machines", strings.Replace(machine, `"cpus"`, `"colour":"red","cpus"`, 1), "colour"},
		"wrong type":         {"POST", "/v1/machines", strings.Replace(machine, `"cpus":1`, `"cpus":"one"`, 1), "body.spec.cpus"},
		"not JSON":           {"POST", "/v1/machines", `{"name"`, "body"},
		"no body":            {"POST", "/v1/machines", ``, "body"},
		"too large":          {"POST", "/v1/machines", `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, "too large"},
		"unknown query":      {"GET", "/v1/events?from=1", ``, "from"},
		"bad number":         {"PUT", "/v1/images/i/upload/u?offset=0&size=-1", `x`, "size"},
		"unknown role":       {"POST", "/v1/tokens", `{"role":"king"}`, "role"},
		"no subnet":          {"POST", "/v1/networks", `{"name":"n","subnet":"everywhere"}`, "everywhere"},
		"long key":           {"DELETE", "/v1/machines/m", ``, "Idempotency-Key"},
		"disk of no size":    {"POST", "/v1/machines/m/resize", `{"disks":[{"name":"root","size_mib":0}]}`, "size_mib"},
		"CPUs below nothing": {"POST", "/v1/machines/m/resize", `{"cpus":-1}`, "cpus"},
		"rate below nothing": {"POST", "/v1/machines/m/move", `{"sync_rate":-1}`, "sync_rate"},
		"reads elsewhere":    {"POST", "/v1/machines/m/move", `{"reads":"elsewhere"}`, "reads"},
		"memory by post":     {"POST", "/v1/machines/m/move", `{"memory":"post"}`, "memory"},
		"such a new rate":    {"POST", "/v1/machines/m/rate", `{"sync_rate":-1}`, "sync_rate"},
		"no new rate":        {"POST", "/v1/machines/m/rate", `{}`, "sync_rate"},
		"rate of a restart":  {"POST", "/v1/machines/m/restart", `{"sync_rate":-1}`, "sync_rate"},
	} {
		var header []string
		if name == "long key" {
			header = []string{"Idempotency-Key", strings.Repeat("k", 200)}
		}
		status, body := w.do(t, c.method, c.path, c.body, header...)
		if status < 400 || status >= 500 || !strings.Contains(body, `"kind":"invalid"`) || !strings.Contains(body, c.want) {
			t.Errorf("%s: status %d, want a problem of kind invalid that speaks of %q: %.300s", name, status, c.want, body)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{
		"/v2/hosts": "openapi.json", "/v1/hosts/a": "host", "/v1/machines/m": "machine", "/v1/images/i": "image",
		"/v1/machines/m/console": "machine",
	} {
		status, body := w.do(t, http.MethodGet, path, "")
		if status != http.StatusNotFound || !strings.Contains(body, `"kind":"not_found"`) || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, want a problem of kind not_found: %s", path, status, body)
		}
	}
}

func TestDescription(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, body := w.do(t, http.MethodGet, "/openapi.json", "")
	var doc struct {
		OpenAPI string                               `json:"openapi"`
		Paths   map[string]map[string]map[string]any `json:"paths"`
	}
	must(t, json.Unmarshal([]byte(body), &doc))
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("the description is OpenAPI %s, want 3.1", doc.OpenAPI)
	}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			problem := o["responses"].(map[string]any)["default"]
			if o["operationId"] == "" || o["summary"] == "" || problem == nil {
				t.Errorf("%s %s has no id, summary or problem", method, path)
			}
			if o["security"] == nil && path != "/v1/join" {
				t.Errorf("%s %s needs no token", method, path)
			}
		}
	}
}
