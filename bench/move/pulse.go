package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/lab/observer"
)

// beat is what was known of a guest's records at a time.
type beat struct {
	at      time.Time
	durable uint64 // the newest
	runs    int    // of the guest's program, one for each boot
	boots   int
}

func newBeat(s observer.Summary) beat {
	return beat{at: time.Now(), durable: s.Acknowledged(), runs: len(s.Runs), boots: len(s.Boots())}
}

// pulse is when a guest's records became durable, as an observer heard it.
type pulse struct {
	mu    sync.Mutex
	beats []beat
}

// run notes what the observer hears until ctx ends.
func (p *pulse) run(ctx context.Context, o *observer.Observer) {
	var last uint64
	for {
		s, err := o.Wait(ctx, func(s observer.Summary) bool { return s.Acknowledged() > last })
		if err != nil {
			return
		}
		b := newBeat(s)
		last = b.durable
		p.note(b)
	}
}

func (p *pulse) note(b beat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, b)
}

// rate is how many records became durable each second in a span of time.
func (p *pulse) rate(from, to time.Time) figure {
	p.mu.Lock()
	defer p.mu.Unlock()
	seconds := to.Sub(from).Seconds()
	if seconds <= 0 {
		return none()
	}
	return figure(float64(p.at(to)-p.at(from)) / seconds).rounded()
}

// at is the newest record that was durable at a time; before the first beat, the
// one of that.
func (p *pulse) at(t time.Time) uint64 {
	i, exact := slices.BinarySearchFunc(p.beats, t, func(b beat, t time.Time) int { return b.at.Compare(t) })
	switch {
	case exact:
		return p.beats[i].durable
	case i > 0:
		return p.beats[i-1].durable
	case len(p.beats) > 0:
		return p.beats[0].durable
	}
	return 0
}

// boot gives the time of the last record before a run of the guest's program, and
// of the first record in it.
func (p *pulse) boot(run int) (away, back time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.beats, func(b beat) bool { return b.runs >= run })
	if i < 1 {
		return away, back, false
	}
	return p.beats[i-1].at, p.beats[i].at, true
}
