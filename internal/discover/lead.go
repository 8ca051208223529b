package discover

import "time"

// Where to look for a sound: the coarse time of both ends may be wrong by this.
const earshot = coarseWidth + 100*time.Millisecond

// keptEchoes is how many echoes memory is kept for: 1.5 MiB.
const keptEchoes = 65536

// lead knows for one client how far the clocks of servers are ahead. There is one
// at a time.
type lead struct {
	clocks *clocks
	client uint32
	known  []leadOf // by server
	epoch  uint32
	echoes []echo // found so far, in memory that is used again
}

type leadOf struct {
	ahead, width int64
	epoch        uint32 // of what it is known for
}

// echo is a sound that could be a connection that the client opened.
type echo struct {
	stream uint32
	sample uint32 // which of the client's connections
	offset int64  // how much later it was heard than opened, by the clocks as we know them
	width  int64  // within which that is certain
}

func (j *Joiner) lead(client uint32) *lead {
	l := &j.leads
	if cap(l.echoes) > keptEchoes {
		l.echoes = nil
	}
	l.clocks, l.client, l.echoes = j.clocks, client, l.echoes[:0]
	l.epoch++
	for len(l.known) < len(j.byID) {
		l.known = append(l.known, leadOf{})
	}
	for _, e := range j.clocks.edges[client] {
		if s := &j.clocks.samples[e.pair]; !e.client && s.enough() {
			l.known[e.other] = leadOf{s.median(), int64(fineWidth), l.epoch}
		}
	}
	return l
}

func (l *lead) of(server uint32) *leadOf {
	k := &l.known[server]
	if k.epoch != l.epoch {
		ahead, width := l.clocks.through(l.client, server)
		*k = leadOf{int64(ahead), int64(width), l.epoch}
	}
	return k
}

// echo collects the sounds that can be a connection that the client opened.
func (j *Joiner) echo(l *lead, sample int, s span, tolerance int64) {
	at := j.clocks.ours(l.client, s.opened)
	j.ear.listen(at, earshot, s.hold, tolerance, func(sounds []sound) {
		for i := range sounds {
			x := &sounds[i]
			k := l.of(j.servers[x.stream])
			if offset := x.opened - s.opened - k.ahead; abs(offset) <= k.width {
				l.echoes = append(l.echoes, echo{x.stream, uint32(sample), offset, k.width})
			}
		}
	})
}

// learn tells the clocks what an offset that proved right says.
func (l *lead) learn(server uint32, offset int64) {
	l.clocks.matched(l.client, server, 0, l.of(server).ahead+offset)
}
