package bus

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
)

type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "droveway_bus_calls_total",
			Help: "Commands sent to hosts, by verb and kind of error (ok: none).",
		}, []string{"verb", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "droveway_bus_call_seconds",
			Help:    "Time until a host answered a command.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"verb"}),
	}
	if r != nil {
		r.MustRegister(m.calls, m.seconds)
	}
	return m
}

func (m *metrics) called(verb string, begun time.Time, err error) {
	outcome := "ok"
	if err != nil {
		outcome = string(droveway.KindOf(err))
	}
	m.calls.WithLabelValues(verb, outcome).Inc()
	m.seconds.WithLabelValues(verb).Observe(time.Since(begun).Seconds())
}
