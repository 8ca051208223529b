package probe

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/emit"
)

// What one report holds: so much that it stays below discover.MaxReport whatever
// is in it.
const (
	batchConnections = 1500      // of at most 330 bytes
	batchListeners   = 1000      // of at most 110
	batchProcesses   = 128 << 10 // bytes
	batchEmissions   = 256       // of at most 700
	batchAddresses   = 256       // of at most 50
	batchTranslated  = 256       // of at most 310
	maxEmissions     = discover.MaxEmissions
	maxTranslations  = discover.MaxTranslations
)

// heartbeat is how long a probe with nothing to say is silent.
const heartbeat = 30 * time.Second

// batch makes reports of what the ledger and the directory have.
type batch struct {
	host, probe string
	source      func() string
	ledger      *ledger
	directory   *directory
	clock       clock
	seq         uint64
	last        time.Time
	text        []byte // of the last report

	mu        sync.Mutex
	addresses []netip.Addr
	disk      int64
	emitted   []emitted
	steps     []discover.Translation
	lost      uint64
}

// emitted is a connection of a pattern as the emitter saw it.
type emitted struct {
	discover.Emission
	claim emit.Claim
}

// locate takes the addresses of the host.
func (b *batch) locate(all []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses = all
}

// weigh takes how much the host's disks hold.
func (b *batch) weigh(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disk = bytes
}

// emit takes a connection of a pattern.
func (b *batch) emit(e discover.Emission, c emit.Claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.emitted) >= maxEmissions {
		b.lost++
		return
	}
	b.emitted = append(b.emitted, emitted{e, c})
}

// translate takes how a connection of others is translated.
func (b *batch) translate(t discover.Translation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.steps) >= maxTranslations {
		b.lost++
		return
	}
	b.steps = append(b.steps, t)
}

// lose counts events that were lost elsewhere.
func (b *batch) lose(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost += n
}

// encoded is a report as it travels, until the next one is made.
type encoded struct {
	json   []byte
	events int // connections in it
}

// next gives the next report; false: there is nothing to say. Call it until then.
func (b *batch) next(now time.Time) (encoded, bool, error) {
	r := discover.Report{Host: b.host, Probe: b.probe, Time: now.UTC(), Source: b.source()}
	var more bool
	r.Processes, more = b.directory.due(batchProcesses, now)
	r.Listeners = b.ledger.listeners(batchListeners, now)
	if !more { // what connections refer to goes first
		r.Connections = b.ledger.drain(batchConnections, now)
	}
	r.Lost = b.ledger.takeLost()
	b.mu.Lock()
	r.DiskBytes = b.disk
	r.Addresses = b.addresses[:min(len(b.addresses), batchAddresses)]
	n := min(len(b.emitted), batchEmissions)
	for _, e := range b.emitted[:n] {
		r.Emitted = append(r.Emitted, b.ledger.measured(e.Emission, e.claim))
	}
	b.emitted = b.emitted[n:]
	n = min(len(b.steps), batchTranslated)
	r.Translations, b.steps = b.steps[:n:n], b.steps[n:]
	r.Lost += b.lost
	b.lost = 0
	b.mu.Unlock()
	if empty(r) && now.Sub(b.last).Abs() < heartbeat {
		return encoded{}, false, nil
	}
	b.last = now
	b.seq++
	r.Seq = b.seq
	b.clock.tell(&r)
	text, err := r.AppendJSON(b.text[:0])
	if err != nil {
		return encoded{}, false, fmt.Errorf("write report %d: %w", r.Seq, err)
	}
	b.text = text
	return encoded{text, len(r.Connections)}, true, nil
}

func empty(r discover.Report) bool {
	return len(r.Processes)+len(r.Listeners)+len(r.Connections)+len(r.Emitted)+len(r.Translations) == 0 && r.Lost == 0
}

func (l *ledger) listeners(most int, now time.Time) []discover.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.services.due(most, now)
}
