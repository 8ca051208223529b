package workload

import (
	"sync"

	"github.com/droveway/droveway/internal/lab/record"
)

// news is the newest report, and whether somebody has to be told.
type news struct {
	mu     sync.Mutex
	report record.Report
	fresh  chan struct{} // has an element while the newest report may be unsent
}

func newNews(r record.Report) *news { return &news{report: r, fresh: make(chan struct{}, 1)} }

func (n *news) change(f func(*record.Report)) {
	n.mu.Lock()
	f(&n.report)
	n.mu.Unlock()
	select {
	case n.fresh <- struct{}{}:
	default:
	}
}

func (n *news) newest() record.Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.report
}

// begin says where this run begins and returns its number.
func (n *news) begin(first uint64) (run uint64) {
	n.change(func(r *record.Report) { r.First, r.Durable, run = first, first-1, r.Run })
	return run
}

func (n *news) durable(seq uint64) { n.change(func(r *record.Report) { r.Durable = seq }) }

func (n *news) wrong() { n.change(func(r *record.Report) { r.Wrong++ }) }

func (n *news) badRAM(pages uint64) { n.change(func(r *record.Report) { r.BadRAM += pages }) }

func (n *news) failed(err error) { n.change(func(r *record.Report) { r.Error = err.Error() }) }
