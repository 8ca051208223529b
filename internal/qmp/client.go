// Package qmp speaks the QEMU Machine Protocol, the monitor protocol of QEMU and
// of its storage daemon (docs/interop/qmp-spec.txt of QEMU).
//
// A Client is one connection. A monitor serves one client at a time: a second
// one waits unanswered until the first has gone, so Dial wants a context that
// ends. Commands may be given at the same time; the monitor carries them out one
// after the other. The package opens the socket it is told to and nothing else.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/droveway/droveway"
)

// maxLine bounds a message. query-qmp-schema, the longest answer there is, has
// about 200 KiB.
const maxLine = 16 << 20

// Client is a connection to a monitor.
type Client struct {
	conn    net.Conn
	version Version
	end     context.Context // ends with the connection; its cause says why
	ended   context.CancelCauseFunc
	reader  sync.WaitGroup

	write chan struct{} // holds a token while a command goes out

	mu      sync.Mutex
	last    uint64                    // id of the newest command
	waiting map[uint64]chan<- message // commands without a response yet
	subs    map[*subscription]struct{}
}

var errClosed = errors.New("the connection was closed")

// New greets the monitor at the other end of conn, which the Client owns from
// then on, even if New fails.
func New(ctx context.Context, conn net.Conn) (*Client, error) {
	end, ended := context.WithCancelCause(context.Background())
	c := &Client{
		conn: conn, end: end, ended: ended, write: make(chan struct{}, 1),
		waiting: map[uint64]chan<- message{}, subs: map[*subscription]struct{}{},
	}
	greeted := make(chan Version, 1)
	c.reader.Go(func() { c.read(greeted) })
	if err := c.greet(ctx, greeted); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) greet(ctx context.Context, greeted <-chan Version) error {
	select {
	case c.version = <-greeted:
	case <-ctx.Done():
		return droveway.Errorf(droveway.Unavailable, "QMP: no greeting; another client may hold the monitor: %w", context.Cause(ctx))
	case <-c.end.Done():
		return droveway.Errorf(droveway.Unavailable, "QMP: no greeting: %w", context.Cause(c.end))
	}
	return c.Execute(ctx, "qmp_capabilities", nil, nil)
}

// Version is that of the program behind the monitor.
func (c *Client) Version() Version { return c.version }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.end.Done() }

// Close ends the connection. Commands that wait for a response fail.
func (c *Client) Close() error {
	c.ended(errClosed)
	err := c.conn.Close()
	c.reader.Wait()
	return err
}

// Execute gives a command and stores what it returns in result, if that is not
// nil. Errors: a refusal has the *Error in its chain; Unavailable means that
// ctx or the connection ended first, and the command may still be carried out.
func (c *Client) Execute(ctx context.Context, cmd string, args, result any) error {
	id, response := c.expect()
	defer c.forget(id)
	if err := c.send(ctx, request{Execute: cmd, Arguments: args, ID: id}); err != nil {
		return lost(cmd, err)
	}
	select {
	case m := <-response:
		return decode(cmd, m, result)
	case <-ctx.Done():
		return lost(cmd, context.Cause(ctx))
	case <-c.end.Done():
		return lost(cmd, context.Cause(c.end))
	}
}

func decode(cmd string, m message, result any) error {
	if m.Error != nil {
		return refused(cmd, m.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return droveway.Errorf(droveway.Internal, "QMP %s: its return has another shape: %w", cmd, err)
	}
	return nil
}

func (c *Client) expect() (uint64, <-chan message) {
	ch := make(chan message, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.waiting[c.last] = ch
	return c.last, ch
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// send writes a request. A monitor that reads no more blocks the write until
// ctx ends; if half a command is on the connection by then it is closed.
func (c *Client) send(ctx context.Context, r request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	select {
	case c.write <- struct{}{}:
		defer func() { <-c.write }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return c.put(ctx, append(line, '\n'))
}

func (c *Client) put(ctx context.Context, line []byte) error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	n, err := c.conn.Write(line)
	if !stop() {
		<-fired
		_ = c.conn.SetWriteDeadline(time.Time{})
	}
	switch {
	case c.end.Err() != nil:
		return context.Cause(c.end)
	case err == nil:
		return nil
	case n > 0:
		c.ended(err)
		_ = c.conn.Close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// read hands out what comes from the monitor until the connection ends.
func (c *Client) read(greeted chan<- Version) {
	defer c.endSubscriptions()
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		m, err := parse(lines.Bytes())
		if err != nil {
			c.ended(err)
			_ = c.conn.Close()
			return
		}
		c.dispatch(m, greeted)
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	}
	c.ended(err)
}

func (c *Client) dispatch(m message, greeted chan<- Version) {
	switch {
	case m.Greeting != nil:
		select {
		case greeted <- m.Greeting.Version:
		default: // a second greeting says nothing
		}
	case m.Event != "":
		c.publish(Event{Name: m.Event, Data: m.Data, Time: m.Time.time()})
	default:
		c.answer(m)
	}
}

func (c *Client) answer(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.waiting[m.ID]; ok {
		delete(c.waiting, m.ID)
		ch <- m
	}
}
