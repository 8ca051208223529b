package discover

import "time"

// Limits bound the memory of a joiner and the time it waits. A zero field takes
// its default.
type Limits struct {
	Flows   int // outbound, of one host: service and destination; 4096
	Streams int // inbound, of one host: service and source address; 4096
	Open    int // connections of one host that are open; 8192
	Pending int // of one host, whose other end was not seen yet; 8192
	Heard   int // inbound connections of one host kept for patterns and timing; 150000

	// Grace is how long the other end of a connection may take to report before
	// the connection counts as one-sided: 3 min.
	Grace time.Duration
	// Window is how long connections wait for their other end: 15 min.
	Window time.Duration
	// Idle is when flows and streams are forgotten: 24 h.
	Idle time.Duration
}

func (l Limits) filled() Limits {
	return Limits{
		Flows:   or(l.Flows, 4096),
		Streams: or(l.Streams, 4096),
		Open:    or(l.Open, 8192),
		Pending: or(l.Pending, 8192),
		Heard:   or(l.Heard, 150000),
		Grace:   or(l.Grace, 3*time.Minute),
		Window:  or(l.Window, 15*time.Minute),
		Idle:    or(l.Idle, 24*time.Hour),
	}
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
