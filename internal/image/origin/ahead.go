package origin

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// While a source is read in a row, what comes next is fetched before it is asked
	// for: little at first, as few rows are long, then up to so much, by so many
	// requests at a time.
	aheadFirst = 1 << 20 // bytes
	aheadBytes = 16 << 20
	aheadMost  = 3

	// A request that is made ahead asks for what comes within this time: a guest's own
	// request, which may come any moment, shares the way with it.
	aheadTime = 200 * time.Millisecond

	// rows is how many places are remembered where somebody reads: a guest reads here
	// and there while its disk is copied in a row.
	rows = 8

	// hasteMost is how long one who reads in bulk waits for others.
	hasteMost = 250 * time.Millisecond
)

// ahead is what a store fetches ahead. It is guarded by the store's mu.
type ahead struct {
	under int       // requests that are under way
	rows  [rows]row // the newest first
	speed float64   // of one request, bytes a second; 0: not known
}

// row is a reader that reads in a row.
type row struct {
	end    int64 // the chunk after the one that was read last
	window int64 // how much is fetched ahead of it, in chunks
}

// learn keeps how fast a request was.
func (a *ahead) learn(n int, took time.Duration) {
	now := float64(n) / max(took.Seconds(), 0.001)
	if a.speed > 0 {
		now = 0.3*now + 0.7*a.speed
	}
	a.speed = now
}

// unit is how many chunks a request ahead asks for.
func (a *ahead) unit() int64 {
	return min(max(int64(a.speed*aheadTime.Seconds())/chunk, 1), most/chunk)
}

// advance notes a read, and tells how far ahead to fetch; 0: it goes on where nobody
// has stopped.
func (a *ahead) advance(first, last int64) (window int64) {
	at := slices.IndexFunc(a.rows[:], func(r row) bool { return r.end > 0 && (first == r.end || first == r.end-1) })
	now := row{end: last + 1}
	switch {
	case at < 0:
		at = rows - 1
	case last+1 == a.rows[at].end: // once more in the same chunk
		now.window = a.rows[at].window
	default:
		now.window = min(max(2*a.rows[at].window, aheadFirst/chunk), aheadBytes/chunk)
	}
	copy(a.rows[1:at+1], a.rows[:at])
	a.rows[0] = now
	return now.window
}

// foresee fetches what comes next, if the source is read in a row, unless somebody
// is in haste.
func (s *store) foresee(first, last int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	window := s.ahead.advance(first, last)
	if window == 0 || s.away != nil || s.end.Err() != nil || s.haste.any() {
		return
	}
	end := min(last+window, (s.size-1)/chunk)
	for at := last + 1; at <= end && s.ahead.under < aheadMost; {
		n := s.take(at, end, s.ahead.unit())
		if n > 0 {
			s.ahead.under++
			begin := at
			s.work.Go(func() { s.fetchAhead(begin, n) })
		}
		at += max(n, 1)
	}
}

func (s *store) fetchAhead(at, n int64) {
	_ = s.fetch(s.end, at, n) // whoever needs it asks again, and hears why not
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.under--
}

// haste lets those go first who wait for what they have asked for: guests, before
// the copies of their disks.
type haste struct {
	mu   sync.Mutex
	n    int
	over chan struct{} // closed when nobody is in haste any more
}

// begin is called before a fetch, and what it returns after it.
func (h *haste) begin(ctx context.Context, bulk bool) (end func()) {
	if bulk {
		h.yield(ctx)
		return func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n++; h.n == 1 {
		h.over = make(chan struct{})
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.n--; h.n == 0 {
			close(h.over)
		}
	}
}

func (h *haste) any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n > 0
}

func (h *haste) yield(ctx context.Context) {
	h.mu.Lock()
	n, over := h.n, h.over
	h.mu.Unlock()
	if n == 0 {
		return
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-time.After(hasteMost):
	}
}
