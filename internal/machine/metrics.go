package machine

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	changes  *prometheus.CounterVec
	restarts prometheus.Counter
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "droveway_machine_changes_total", Help: "Changes of the state of machines, by the new state.",
		}, []string{"state"}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "droveway_machine_restarts_total", Help: "Attempts to start a machine whose instance ended unasked.",
		}),
	}
	if r != nil {
		r.MustRegister(m.changes, m.restarts)
	}
	return m
}
