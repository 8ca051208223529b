package httpapi

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/droveway/droveway"
)

// plainRoutes are those outside the description: for probes and for Prometheus.
func (a *API) plainRoutes() {
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	a.mux.HandleFunc("GET /readyz", a.readyz)
	metrics := promhttp.HandlerFor(a.cfg.Metrics, promhttp.HandlerOpts{})
	a.mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if p := a.admit(r.Context(), admins, r.Header.Get("Authorization")); p != nil {
			writeProblem(w, p)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(http.StatusNotFound, droveway.NotFound,
			fmt.Sprintf("there is no operation %s %s: see /openapi.json", r.Method, r.URL.Path)))
	})
}

// readyz answers for the tables too: without them nothing works.
func (a *API) readyz(w http.ResponseWriter, r *http.Request) {
	if _, err := a.cfg.Fleet.Networks.List(r.Context()); err != nil {
		writeProblem(w, newProblem(http.StatusServiceUnavailable, droveway.Unavailable, err.Error()))
		return
	}
	fmt.Fprintln(w, "ready")
}
