package discover

import (
	"cmp"
	"slices"
	"time"
)

// ear keeps the inbound connections of all hosts that found no other end, by
// the second in which they opened and by how long they lasted, so that those
// like a given one are found in constant time.
type ear struct {
	slabs map[int64]*slab // by our time, in slabs
	size  int
}

const slabTime = int64(500 * time.Millisecond)

// maxSounds bounds the ear of the whole fleet: 256 MiB.
const maxSounds = 16 << 20

type slab struct {
	sounds []sound
	sorted bool // by hold
}

// sound is an inbound connection.
type sound struct {
	opened int64  // by the host's clock
	hold   uint32 // microseconds
	stream uint32
}

// span is a connection that a client opened.
type span struct {
	opened int64 // by the host's clock
	hold   int64 // nanoseconds
}

// unmatched keeps a connection that closed before its other end was found. Where
// sequence numbers may yet join the ends, they get time for it first.
func (j *Joiner) unmatched(cn *conn, c *Connection) {
	if c.Opened.IsZero() || c.Protocol != "tcp" {
		return
	}
	hold := c.Closed.Sub(c.Opened)
	switch {
	case hold > time.Hour:
	case cn.waits != 0:
		j.quiet = append(j.quiet, quiet{span{cn.opened, int64(hold)}, cn.isn, cn.waits, j.now + int64(exactTime)})
	default:
		j.alone(cn.flow, cn.stream, span{cn.opened, int64(hold)})
	}
}

// exactTime is how long the other end may take to report the same sequence numbers:
// most are there with its next report, and patterns can wait so long too.
const exactTime = 5 * time.Second

// quiet is a connection that closed and whose other end may report it still.
type quiet struct {
	span
	isn  uint64
	slot uint32 // of pending
	due  int64
}

// judgeQuiet takes what has found no other end by now.
func (j *Joiner) judgeQuiet() {
	n := 0
	for ; n < len(j.quiet) && j.quiet[n].due <= j.now; n++ {
		q := &j.quiet[n]
		if s := j.pending.at(q.slot); s.isn == q.isn {
			cn := j.pended(q.slot)
			j.alone(cn.flow, cn.stream, q.span)
		}
	}
	j.quiet = append(j.quiet[:0], j.quiet[n:]...)
}

// alone keeps a connection for what finds its other end by its time.
func (j *Joiner) alone(f *flow, s *stream, at span) {
	if f != nil {
		j.sample(f, at)
	} else {
		j.hear(s, at)
	}
}

func (j *Joiner) hear(st *stream, c span) {
	at := j.clocks.ours(st.host.index, c.opened)
	if at < j.now-int64(j.limits.Window) || at > j.now+int64(time.Minute) {
		return // of no use any more, or a clock gone mad
	}
	if j.ear.size >= maxSounds || st.host.heard.spill(j.now, j.limits.Heard, j.limits.Window) {
		st.host.seen.Lost++
		return
	}
	k := at / slabTime
	s := j.ear.slabs[k]
	if s == nil {
		s = &slab{}
		j.ear.slabs[k] = s
	}
	s.sounds = append(s.sounds, sound{c.opened, micro(c.hold), st.id})
	s.sorted = false
	st.heard++
	j.ear.size++
}

// drop forgets what is older than our time at.
func (e *ear) drop(at int64, streams []*stream) {
	for k, s := range e.slabs {
		if (k+1)*slabTime >= at {
			continue
		}
		for _, x := range s.sounds {
			streams[x.stream].heard--
		}
		e.size -= len(s.sounds)
		delete(e.slabs, k)
	}
}

// listen calls fn for the sounds that lasted as long as a span, within a
// tolerance, in the slabs within the width around our time at.
func (e *ear) listen(at int64, width time.Duration, hold, tolerance int64, fn func([]sound)) {
	low, high := micro(hold-tolerance), micro(hold+tolerance)
	for k := (at - int64(width)) / slabTime; k <= (at+int64(width))/slabTime; k++ {
		if s := e.slabs[k]; s != nil {
			fn(s.between(low, high))
		}
	}
}

// between gives the sounds that lasted from low to high.
func (s *slab) between(low, high uint32) []sound {
	s.sort()
	from, _ := slices.BinarySearchFunc(s.sounds, low, bySound)
	to := from
	for to < len(s.sounds) && s.sounds[to].hold <= high {
		to++
	}
	return s.sounds[from:to]
}

func bySound(s sound, hold uint32) int { return cmp.Compare(s.hold, hold) }

func micro(ns int64) uint32 { return uint32(max(ns, 0) / 1000) }

func (s *slab) sort() {
	if !s.sorted {
		slices.SortFunc(s.sounds, func(a, b sound) int { return cmp.Compare(a.hold, b.hold) })
		s.sorted = true
	}
}
