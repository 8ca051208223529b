package host

import (
	"time"

	"github.com/droveway/droveway"
)

// meter turns bytes done into progress with a rate and the time that remains.
type meter struct {
	begun time.Time
	done  int64 // of the disks that are finished
	last  int64 // of the disk at hand
	total int64
}

func newMeter(disks []Disk) *meter {
	m := &meter{begun: time.Now()}
	for _, d := range disks {
		if d.Image != nil {
			m.total += d.Image.Bytes
		}
	}
	return m
}

// disk gives the progress function for the next disk.
func (m *meter) disk(t *task) func(int64) {
	m.done, m.last = m.done+m.last, 0
	return func(n int64) {
		m.last = n
		p := Progress(m.done+n, m.total, time.Since(m.begun))
		t.progress.Store(&p)
	}
}

// Progress is done of total bytes after some time.
func Progress(done, total int64, after time.Duration) droveway.Progress {
	p := droveway.Progress{Done: done, Total: total}
	if ms := after.Milliseconds(); ms > 0 {
		p.Rate = done * 1000 / ms
	}
	if p.Rate > 0 {
		p.Remaining = (total - done) * 1000 / p.Rate
	}
	return p
}
