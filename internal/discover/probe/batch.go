package probe

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// What one report holds, below the limits of discover, so that it stays below
// their size too.
const (
	batchConnections = 2000
	batchProcesses   = 500
	batchListeners   = 2000
	maxEmissions     = discover.MaxEmissions
)

// heartbeat is how long a probe with nothing to say is silent.
const heartbeat = 30 * time.Second

// batch makes reports of what the ledger and the directory have.
type batch struct {
	host, probe string
	source      func() string
	ledger      *ledger
	directory   *directory
	seq         uint64
	last        time.Time

	mu        sync.Mutex
	addresses []netip.Addr
	emitted   []discover.Emission
	lost      uint64
}

// locate takes the addresses of the host.
func (b *batch) locate(all []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses = all
}

// emit takes a connection of a pattern.
func (b *batch) emit(e discover.Emission) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.emitted) >= maxEmissions {
		b.lost++
		return
	}
	b.emitted = append(b.emitted, e)
}

// lose counts events that were lost elsewhere.
func (b *batch) lose(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost += n
}

// encoded is a report as it travels.
type encoded struct {
	json   []byte
	events int // connections in it
}

// next gives the next report; false: there is nothing to say. Call it until then.
func (b *batch) next(now time.Time) (encoded, bool, error) {
	r := discover.Report{Host: b.host, Probe: b.probe, Time: now.UTC(), Source: b.source()}
	r.Processes = b.directory.due(batchProcesses, now)
	r.Listeners = b.ledger.listeners(batchListeners, now)
	if len(r.Processes) < batchProcesses { // what connections refer to goes first
		r.Connections = b.ledger.drain(batchConnections, now)
	}
	r.Lost = b.ledger.takeLost()
	b.mu.Lock()
	r.Addresses = b.addresses
	r.Emitted, b.emitted = b.emitted, nil
	r.Lost += b.lost
	b.lost = 0
	b.mu.Unlock()
	if empty(r) && now.Sub(b.last).Abs() < heartbeat {
		return encoded{}, false, nil
	}
	b.last = now
	b.seq++
	r.Seq = b.seq
	text, err := json.Marshal(r)
	if err != nil {
		return encoded{}, false, fmt.Errorf("write report %d: %w", r.Seq, err)
	}
	return encoded{text, len(r.Connections)}, true, nil
}

func empty(r discover.Report) bool {
	return len(r.Processes)+len(r.Listeners)+len(r.Connections)+len(r.Emitted) == 0 && r.Lost == 0
}

func (l *ledger) listeners(most int, now time.Time) []discover.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.services.due(most, now)
}
