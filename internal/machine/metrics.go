package machine

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	changes  *prometheus.CounterVec
	restarts prometheus.Counter
	held     *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "droveway_machine_changes_total", Help: "Changes of the state of machines, by the new state.",
		}, []string{"state"}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "droveway_machine_restarts_total", Help: "Attempts to start a machine whose instance ended unasked.",
		}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "droveway_host_held_machines", Help: "Machines that a host leaves alone, since it cannot tell what of them runs.",
		}, []string{"host"}),
	}
	if r != nil {
		r.MustRegister(m.changes, m.restarts, m.held)
	}
	return m
}
