package discover

import (
	"cmp"
	"slices"
	"sort"
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

// unmatched keeps a connection that closed before its other end was found.
func (j *Joiner) unmatched(cn *conn, c *Connection) {
	if c.Opened.IsZero() || c.Protocol != "tcp" {
		return
	}
	hold := c.Closed.Sub(c.Opened)
	if hold > time.Hour {
		return
	}
	if cn.flow != nil {
		j.sample(cn.flow, span{cn.opened, int64(hold)})
		return
	}
	j.hear(cn, hold)
}

func (j *Joiner) hear(cn *conn, hold time.Duration) {
	at := j.clocks.ours(cn.host().index, cn.opened)
	if at < j.now-int64(j.limits.Window) || at > j.now+int64(time.Minute) {
		return // of no use any more, or a clock gone mad
	}
	if j.ear.size >= maxSounds || cn.host().heard.spill(j.now, j.limits.Heard, j.limits.Window) {
		cn.host().seen.Lost++
		return
	}
	k := at / slabTime
	s := j.ear.slabs[k]
	if s == nil {
		s = &slab{}
		j.ear.slabs[k] = s
	}
	s.sounds = append(s.sounds, sound{cn.opened, uint32(hold / time.Microsecond), cn.stream.id})
	s.sorted = false
	cn.stream.heard++
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

// listen calls fn for each sound within the width around our time at that lasted
// as long as a span, within a tolerance.
func (e *ear) listen(at int64, width time.Duration, hold, tolerance int64, fn func(*sound)) {
	low, high := micro(hold-tolerance), micro(hold+tolerance)
	for k := (at - int64(width)) / slabTime; k <= (at+int64(width))/slabTime; k++ {
		s := e.slabs[k]
		if s == nil {
			continue
		}
		s.sort()
		from := sort.Search(len(s.sounds), func(i int) bool { return s.sounds[i].hold >= low })
		for i := from; i < len(s.sounds) && s.sounds[i].hold <= high; i++ {
			fn(&s.sounds[i])
		}
	}
}

func micro(ns int64) uint32 { return uint32(max(ns, 0) / 1000) }

func (s *slab) sort() {
	if !s.sorted {
		slices.SortFunc(s.sounds, func(a, b sound) int { return cmp.Compare(a.hold, b.hold) })
		s.sorted = true
	}
}

// lead remembers for one client how far the clocks of servers are ahead. There is
// one at a time.
type lead struct {
	j      *Joiner
	client uint32
	known  []leadOf // by server
	epoch  uint32
}

type leadOf struct {
	ahead, width int64
	epoch        uint32 // of what it is known for
}

func (j *Joiner) lead(client uint32) *lead {
	l := &j.leads
	l.j, l.client = j, client
	l.epoch++
	for len(l.known) < len(j.byID) {
		l.known = append(l.known, leadOf{})
	}
	return l
}

func (l *lead) of(server uint32) *leadOf {
	k := &l.known[server]
	if k.epoch != l.epoch {
		ahead, width := l.j.clocks.ahead(l.client, server)
		*k = leadOf{int64(ahead), int64(width), l.epoch}
	}
	return k
}

// offset is how much later a server heard a connection than the client opened
// it, by the clocks as we know them, and whether that can be the same connection.
func (l *lead) offset(s *sound, opened int64) (offset, width int64, ok bool) {
	k := l.of(l.j.streams[s.stream].host.index)
	offset = s.opened - opened - k.ahead
	return offset, k.width, abs(offset) <= k.width
}

// learn tells the clocks what an offset that proved right says.
func (l *lead) learn(server uint32, offset int64) {
	l.j.clocks.matched(l.client, server, 0, l.of(server).ahead+offset)
}

// Where to look for a sound: the coarse time of both ends may be wrong by this.
const earshot = coarseWidth + 100*time.Millisecond
