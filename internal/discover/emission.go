package discover

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover/pattern"
)

// Expectation says which pattern a probe was told to emit, for which service
// toward which destination.
type Expectation struct {
	Pattern     string
	Host        string
	Service     Service
	Destination netip.AddrPort
	Expires     time.Time // by our clock
}

// Outcome is what became of a pattern.
type Outcome struct {
	Pattern   string
	Matched   bool
	Ambiguous bool // heard in two places
	Servers   []Served
}

// Served is who heard a pattern.
type Served struct {
	Host string
	Port uint16
}

// emitted is a pattern as its probe really emitted it.
type emitted struct {
	id      string
	host    *host
	flow    *flow
	shots   [pattern.Length]span
	sent    int
	expires int64
	next    int64 // when to look for it; 0: not enough of it is sent
	tries   int
}

const (
	// settle is how long reports of the other end may take.
	settle        = 20 * time.Second
	emissionTries = 4 // each twice as long after the one before
	// jitter is how much two ends may differ about a pattern's connection at the
	// first try. Busy hosts are late: later tries allow more.
	jitter = 6 * time.Millisecond
)

// Expect prepares for a pattern. Emissions of patterns that nobody expects from
// that host are ignored.
func (j *Joiner) Expect(e Expectation) {
	h := j.host(e.Host)
	f := h.flows[flowKey{e.Service, "tcp", e.Destination}]
	if f == nil {
		return // the host does not talk to it: nothing to confirm
	}
	j.patterns[e.Pattern] = &emitted{id: e.Pattern, host: h, flow: f, expires: e.Expires.UnixNano()}
}

func (j *Joiner) emission(h *host, e *Emission) {
	p := j.patterns[e.Pattern]
	if p == nil || p.host != h || e.Index < 0 || e.Index >= pattern.Length || e.Closed.IsZero() || e.Error != "" {
		return
	}
	if p.shots[e.Index].opened == 0 {
		p.sent++
	}
	p.shots[e.Index] = span{e.Opened.UnixNano(), int64(e.Closed.Sub(e.Opened))}
	if p.sent >= pattern.Accept {
		p.next = j.now + int64(settle)
	}
}

// judgePatterns looks for the patterns that are due.
func (j *Joiner) judgePatterns() {
	for _, p := range j.duePatterns() {
		o, done := Outcome{Pattern: p.id}, true
		if p.next != 0 {
			o, done = j.judgePattern(p)
		}
		if done {
			j.outcomes = append(j.outcomes, o)
			delete(j.patterns, p.id)
		}
	}
}

// duePatterns gives the patterns of which enough is sent, or nothing more will
// be. What one shows of the clocks helps the next, so their order is always the
// same.
func (j *Joiner) duePatterns() (due []*emitted) {
	for _, p := range j.patterns {
		if p.next != 0 && p.next <= j.now || p.next == 0 && p.expires < j.now {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b *emitted) int { return cmp.Compare(a.id, b.id) })
	return due
}

// judgePattern looks for a pattern. Clocks get better with every match, so what
// is not found is tried again.
func (j *Joiner) judgePattern(p *emitted) (Outcome, bool) {
	l := j.lead(p.host.index)
	width := jitter * time.Duration(1+min(p.tries, 2))
	m := pattern.Best(j.hits(p, l, width), width)
	if m.Clear() {
		return j.heardPattern(p, m, l), true
	}
	p.tries++
	p.next = j.now + int64(settle)<<p.tries
	o := Outcome{Pattern: p.id, Ambiguous: m.Count >= pattern.Accept}
	return o, p.tries >= emissionTries
}

// hits gives the sounds that could be a connection of the pattern.
func (j *Joiner) hits(p *emitted, l *lead, width time.Duration) (hits []pattern.Hit) {
	for i, shot := range p.shots {
		if shot.opened != 0 {
			j.echo(l, i, shot, int64(width))
		}
	}
	sources := map[netip.Addr]uint32{}
	for _, e := range l.echoes {
		seen := j.streams.all[e.stream].seen
		if _, known := sources[seen]; !known {
			sources[seen] = uint32(len(sources))
		}
		hits = append(hits, pattern.Hit{Source: sources[seen], Member: e.stream, Shot: int(e.sample), Offset: time.Duration(e.offset)})
	}
	return hits
}

// Outcomes gives what became of patterns since the last call.
func (j *Joiner) Outcomes() []Outcome {
	o := j.outcomes
	j.outcomes = nil
	return o
}
