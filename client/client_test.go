package client_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// serve runs a server with one handler, and a client for it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c, err := client.New(client.Context{Server: s.URL, Token: "secret", CA: string(ca)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewRefusesWhatIsNoServer(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"", "server:7443", "http://server:7443", "https://", "https://%zz"} {
		_, err := client.New(client.Context{Server: server})
		wantKind(t, err, droveway.Invalid)
	}
	_, err := client.New(client.Context{Server: "https://s", CA: "no pem"})
	wantKind(t, err, droveway.Invalid)
}

func TestTokenGoesToTheServerOnly(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("header is %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, other.URL, http.StatusFound)
	})
	if _, err := c.Hosts(context.Background()); err == nil {
		t.Error("a redirect is no answer")
	}
	if elsewhere.Load() > 0 {
		t.Error("the client followed a redirect")
	}
}

func TestAnswersOfSomethingBetween(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]droveway.Kind{
		400: droveway.Invalid, 401: droveway.Permission, 403: droveway.Permission, 404: droveway.NotFound, 409: droveway.Conflict,
		429: droveway.Unavailable, 500: droveway.Internal, 502: droveway.Unavailable, 503: droveway.Unavailable,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, "<html>")
		})
		_, err := c.Host(context.Background(), "a")
		wantKind(t, err, kind)
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":`) })
	_, err := c.Host(context.Background(), "a")
	wantKind(t, err, droveway.Unavailable)
}

func TestServerOfAnotherAuthority(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	c, err := client.New(client.Context{Server: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Hosts(context.Background())
	wantKind(t, err, droveway.Permission)
	if err != nil && !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the message %q does not speak of the certificate", err)
	}
}

func TestNamesAreEscaped(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/v1/machines/a%2Fb%3Fc" {
			t.Errorf("asked for %s", r.URL.EscapedPath())
		}
		fmt.Fprint(w, "{}")
	})
	if _, err := c.Machine(context.Background(), "a/b?c"); err != nil {
		t.Error(err)
	}
}

// A watch goes on when the server that it speaks to is restarted.
func TestWatchOutlivesTheServer(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch calls.Add(1) {
		case 1:
			fmt.Fprint(w, ": begin\n\ndata: {\"state\":\"running\"}\n\n")
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "data: {\"state\":\"succeeded\"}\n\n")
		}
	})
	var states []droveway.JobState
	j, err := c.WatchJob(context.Background(), "j", func(j droveway.Job) { states = append(states, j.State) })
	if err != nil || j.State != droveway.JobSucceeded || len(states) != 2 || calls.Load() != 3 {
		t.Errorf("after %d calls the job is %s, seen %v: %v", calls.Load(), j.State, states, err)
	}
}

func TestWatchEndsWithAnErrorThatLasts(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	_, err := c.WatchJob(context.Background(), "j", func(droveway.Job) {})
	wantKind(t, err, droveway.NotFound)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = c.WatchJob(ctx, "j", func(droveway.Job) {})
	if err == nil {
		t.Error("a watch went on after its context ended")
	}
}

func TestEventsGoOnAfterTheLastOne(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.Header.Get("Last-Event-Id"), []string{"", "41"}[calls.Load()]; got != want {
			t.Errorf("call %d begins after %q, want %q", calls.Load(), got, want)
		}
		fmt.Fprintf(w, "id: %d\ndata: {\"type\":\"t\"}\n\n", 41+calls.Add(1)-1)
	})
	stop := fmt.Errorf("stop")
	err := c.Events(context.Background(), client.FromNow, "", func(seq uint64, _ droveway.Event) error {
		if seq == 42 {
			return stop
		}
		return nil
	})
	if err != stop {
		t.Error(err)
	}
}
