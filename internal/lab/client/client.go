// Package client is a user of a guest: one TCP connection on which a small
// request goes out every ten milliseconds. The longest time without an answer is
// what a user sees of a move.
package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// Interval lies between two requests.
	Interval = 10 * time.Millisecond
	// EchoPort is where guests echo what they are told.
	EchoPort = "7"

	redialTime = 500 * time.Millisecond
	dialTime   = 2 * time.Second // a guest that boots answers no one yet
)

// Dial makes the client's connection.
type Dial func(context.Context) (net.Conn, error)

// Client asks and notes when it was answered.
type Client struct {
	dial Dial

	mu      sync.Mutex
	answers []time.Time // when each came
	breaks  []time.Time
	cause   error // of the last break
}

// New makes a Client.
func New(dial Dial) *Client { return &Client{dial: dial} }

// Run asks until ctx ends. If the connection breaks it notes that and connects
// again.
func (c *Client) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := c.connect(ctx)
		if err == nil {
			err = c.session(ctx, conn)
			if ctx.Err() == nil {
				c.broke(err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(redialTime):
		}
	}
	return nil
}

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	return c.dial(ctx)
}

// session asks on one connection until it breaks or ctx ends. It does not wait
// for an answer before it asks again: so the stream goes on as soon as the path
// does, instead of at the next of TCP's ever rarer retries.
func (c *Client) session(ctx context.Context, conn net.Conn) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	wait.Go(func() { cancel(c.listen(conn)) })
	ticks := time.NewTicker(Interval)
	defer ticks.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
			return err
		}
	}
}

var errWrongAnswer = errors.New("the answer is not what was asked")

func (c *Client) listen(conn net.Conn) error {
	var answer [8]byte
	in := bufio.NewReader(conn)
	for n := uint64(1); ; n++ {
		if _, err := io.ReadFull(in, answer[:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint64(answer[:]) != n {
			return errWrongAnswer
		}
		c.answered(time.Now())
	}
}

func (c *Client) answered(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, at)
}

func (c *Client) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breaks = append(c.breaks, time.Now())
	c.cause = err
}
