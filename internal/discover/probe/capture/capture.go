// Package capture is the small language between the sources of connection events
// and the probe that joins them: what an event says, and what a source is. It
// touches nothing.
package capture

import (
	"context"
	"net/netip"
	"time"
)

// Kind is what happened.
type Kind uint8

// The kinds of event.
const (
	Started   Kind = iota + 1 // a process that was not seen before is about to connect
	Listening                 // a process listens at Local
	Opened                    // a connection is established
	Closed                    // one end said that it sends no more
	Released                  // the application let go of a connection that its peer closed
)

// Key names a connection while it is open: by the kernel's socket where the
// source sees it, otherwise by its addresses.
type Key struct {
	Namespace     uint32 // inode number of the network namespace
	Socket        uint64 // address of the socket in the kernel, 0: not known
	Local, Remote netip.AddrPort
}

// Event is one thing that a source saw. What it does not know is zero.
type Event struct {
	Kind          Kind
	Key           Key
	Time          time.Time
	Outbound      bool // of Opened: this end opened it
	Local, Remote netip.AddrPort
	PID           int
	Name          string // the kernel's name of the process, of Started
	ISN           uint64 // of Opened: the opener's in the high 32 bits
}

// Source is one way to learn of connections. Run delivers events, one at a time,
// until ctx ends, and returns nil then; it may be called once. Lost counts the
// events that did not fit into the source's own buffers.
type Source interface {
	Run(ctx context.Context, deliver func(Event)) error
	Lost() uint64
	Close() error
}
