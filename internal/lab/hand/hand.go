// Package hand is a test's hand inside a guest of the lab: what the test orders
// over TCP, the guest does to one of its disks. It touches the disk that an order
// names, past the page cache, and nothing else.
package hand

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
)

// Port is where guests take orders.
const Port = "2000"

// Verb is what to do with a range of a disk.
type Verb string

// The verbs. Fill writes bytes that depend on the offset alone, so that what was
// filled can be known again. Zero leaves it to the disk whether the zeroes take
// room; Punch asks for them to take none. Sync writes a block and flushes it,
// Count times.
const (
	Size    Verb = "size"
	Fill    Verb = "fill"
	Sum     Verb = "sum"
	Discard Verb = "discard"
	Zero    Verb = "zero"
	Punch   Verb = "punch"
	Sync    Verb = "sync"
)

// Order is one order. Offset and Length are in bytes, multiples of Chunk.
type Order struct {
	Do     Verb   `json:"do"`
	Disk   string `json:"disk"` // its name in the machine
	Offset int64  `json:"offset,omitempty"`
	Length int64  `json:"length,omitempty"`
	Count  int    `json:"count,omitempty"`
}

// Answer is what came of it.
type Answer struct {
	Size  int64  `json:"size,omitempty"` // Size: of the disk, as the guest sees it
	Sum   string `json:"sum,omitempty"`  // Sum: SHA-256 of the range, in hexadecimal digits
	Error string `json:"error,omitempty"`
}

// Serve takes orders, one after the other on each connection, until the listener
// is closed.
func Serve(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("take orders: %w", err)
		}
		go obey(conn)
	}
}

func obey(conn net.Conn) {
	defer conn.Close()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var o Order
		if in.Decode(&o) != nil {
			return
		}
		a, err := o.carryOut()
		if err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			return
		}
	}
}

// Ask gives an order over a connection and waits for the answer.
func Ask(conn io.ReadWriter, o Order) (Answer, error) {
	var a Answer
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return a, fmt.Errorf("order %+v: %w", o, err)
	}
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return a, fmt.Errorf("order %+v: %w", o, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("order %+v: the guest says: %s", o, a.Error)
	}
	return a, nil
}
