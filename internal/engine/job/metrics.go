package job

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	running *prometheus.GaugeVec
	ended   *prometheus.CounterVec
	stuck   *prometheus.CounterVec
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
		stuck: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "droveway_jobs_stuck_total",
			Help: "Times that a job began to wait for somebody to mend what refuses its step.",
		}, []string{"kind"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "droveway_job_step_seconds",
			Help:    "Time that one attempt at doing or undoing a step took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
		}, []string{"kind", "step"}),
	}
	if r != nil {
		r.MustRegister(m.running, m.ended, m.stuck, m.seconds)
	}
	return m
}
