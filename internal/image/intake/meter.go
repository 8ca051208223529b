package intake

import (
	"time"

	"github.com/droveway/droveway"
)

// meter tells a job's progress, with the rate of late and the time that is left.
type meter struct {
	r     *run
	total int64 // bytes; 0 or less: not known
	at    time.Time
	done  int64 // at that time
	rate  float64
}

func newMeter(r *run, total, done int64) *meter {
	return &meter{r: r, total: max(total, 0), at: time.Now(), done: done}
}

const (
	meterEvery = time.Second
	weight     = 0.3 // of the last measurement
)

func (m *meter) show(done int64) {
	if past := time.Since(m.at); past >= meterEvery {
		last := float64(done-m.done) / past.Seconds()
		if m.rate > 0 {
			last = weight*last + (1-weight)*m.rate
		}
		m.rate, m.at, m.done = last, time.Now(), done
	}
	p := droveway.Progress{Done: done, Total: m.total, Rate: int64(m.rate)}
	if m.rate >= 1 && m.total > done {
		p.Remaining = int64(float64(m.total-done) / m.rate * 1000)
	}
	m.r.Progress(p)
}
