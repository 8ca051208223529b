package probe

import (
	"context"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/capture"
)

// follower is a source that has to be told which network namespaces there are.
type follower interface {
	Follow(namespaces map[uint32]int) error
}

// forgetter is a source that remembers processes.
type forgetter interface{ Forget(pid int) }

// idle is how much longer than a survey the time between two is: where there are
// very many sockets they become rare, and never take more than a fiftieth of a
// core.
const idle = 50

// tally is how many events were lost in some places, and told of.
type tally struct {
	of   []interface{ Lost() uint64 }
	told uint64
}

// more gives those that were not told of yet.
func (t *tally) more() uint64 {
	var sum uint64
	for _, place := range t.of {
		sum += place.Lost()
	}
	n := sum - t.told
	t.told = sum
	return n
}

// work surveys and reports while a source runs.
func (p *Probe) work(ctx context.Context, source capture.Source, losses *tally) error {
	every := or(p.config.Survey, survey)
	switch source.(type) {
	case silent:
		every = min(every, pollSurvey)
	case follower:
		every = min(every, newcomers)
	}
	tick := time.NewTicker(p.config.Interval)
	defer tick.Stop()
	last, rest := p.survey(source)
	p.begun()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		since := time.Since(last)
		if since >= max(every, rest) || since >= max(hasty, rest) && p.ledger.wantsOwners() {
			last, rest = p.survey(source)
		}
		p.batch.lose(losses.more())
		p.ledger.repeat(time.Now())
		if err := p.report(time.Now()); err != nil {
			p.log.Error("reports are lost", "error", err)
		}
	}
}

// begun closes Ready at the first source.
func (p *Probe) begun() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ready:
	default:
		close(p.ready)
	}
}

// survey looks at everything and tells the source what it has to know. What fails
// is tried again the next time. It gives when it ended, and how long to rest.
func (p *Probe) survey(source capture.Source) (time.Time, time.Duration) {
	start := time.Now()
	census, err := p.surveyor.look()
	p.surveyor.complain("some network namespaces are hidden: run the probe as root or give it CAP_SYS_ADMIN", err)
	p.scope.surveyed(census.Namespaces)
	if held, err := p.surveyor.proc.DiskBytes(); err != nil {
		p.log.Debug("what the disks hold is not known", "error", err)
	} else {
		p.batch.weigh(int64(held))
	}
	if f, ok := source.(follower); ok {
		err := f.Follow(census.Namespaces)
		p.surveyor.complain("packets of some network namespaces are not seen: run the probe as root or give it CAP_SYS_ADMIN", err)
	}
	err = p.boxes.Follow(census.Namespaces)
	p.surveyor.complain("how this machine translates addresses for others is not seen: run the probe as root or give it CAP_NET_ADMIN", err)
	p.directory.sweep(census.Processes, forget(source))
	return time.Now(), idle * time.Since(start)
}

func forget(source capture.Source) func(int) {
	if f, ok := source.(forgetter); ok {
		return f.Forget
	}
	return func(int) {}
}
