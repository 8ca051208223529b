package job

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	running *prometheus.GaugeVec
	ended   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "droveway_jobs_running",
			Help: "Jobs that this process runs.",
		}, []string{"kind"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "droveway_jobs_ended_total",
			Help: "Jobs that have ended, by how.",
		}, []string{"kind", "state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "droveway_job_step_seconds",
			Help:    "Time that one attempt at doing or undoing a step took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
		}, []string{"kind", "step"}),
	}
	if r != nil {
		r.MustRegister(m.running, m.ended, m.seconds)
	}
	return m
}
