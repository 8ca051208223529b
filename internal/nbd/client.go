package nbd

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/droveway/droveway"
)

// Client reads one export. Its methods may be called at the same time; requests
// go over the wire one after the other.
type Client struct {
	size int64

	mu     sync.Mutex // held for a request and its reply
	conn   net.Conn
	cookie uint64
	broken error // the connection is out of step: every later read fails
	once   sync.Once
}

// Dial connects to an NBD server, such as ("unix", "/run/x.sock"), and opens an
// export. The context bounds the handshake. The error is NotFound if the server
// has no such export, Unavailable if it does not answer, Unsupported if it is
// too old.
func Dial(ctx context.Context, network, address, export string) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "connect to NBD server %s: %w", address, err)
	}
	c, err := open(ctx, conn, export)
	if err != nil {
		_ = conn.Close() // the handshake's error is the one that matters
		return nil, droveway.Errorf(droveway.KindOf(err), "NBD server %s: %w", address, err)
	}
	return c, nil
}

func open(ctx context.Context, conn net.Conn, export string) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	size, err := negotiate(conn, export)
	if !stop() && err == nil {
		err = droveway.Errorf(droveway.Unavailable, "NBD handshake: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	return &Client{size: size, conn: conn}, nil
}

// Size is the size of the export in bytes.
func (c *Client) Size() int64 { return c.size }

// ReadAt implements io.ReaderAt. An error the server reports (Unavailable)
// leaves the client usable; any other ends it.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, droveway.Errorf(droveway.Invalid, "NBD read at negative offset %d", off)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > c.size-off
	if short {
		p = p[:c.size-off]
	}
	n, err := c.readAll(p, off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

func (c *Client) readAll(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+maxRead, len(p))]
		if err := c.read(part, off+int64(n)); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// read is one request and its reply.
func (c *Client) read(p []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	c.cookie++
	if _, err := c.conn.Write(request(cmdRead, c.cookie, off, len(p))); err != nil {
		c.broken = droveway.Errorf(droveway.Unavailable, "send an NBD read at %d: %w", off, err)
		return c.broken
	}
	remote, err := readReply(c.conn, c.cookie, p)
	if err != nil {
		c.broken = droveway.Errorf(droveway.KindOf(err), "NBD read of %d bytes at %d: %w", len(p), off, err)
		return c.broken
	}
	if remote != 0 {
		return droveway.Errorf(droveway.Unavailable, "NBD read of %d bytes at %d: the server says: %w", len(p), off, remote)
	}
	return nil
}

// Close ends the connection; a read under way fails. It may be called twice.
func (c *Client) Close() error {
	c.once.Do(func() {
		// Say goodbye only if nobody waits for a reply: Close must not wait.
		if c.mu.TryLock() {
			_, _ = c.conn.Write(request(cmdDisconnect, 0, 0, 0)) // courtesy: the server may be gone
			c.mu.Unlock()
		}
		_ = c.conn.Close() // nothing was written that could be lost
	})
	return nil
}

func request(cmd uint16, cookie uint64, off int64, n int) []byte {
	b := make([]byte, 0, requestLen)
	b = binary.BigEndian.AppendUint32(b, magicRequest)
	b = binary.BigEndian.AppendUint16(b, 0) // no flags
	b = binary.BigEndian.AppendUint16(b, cmd)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// readReply reads a simple reply into p. The first result is the server's own
// error, after which the connection is still in step (the numbers on the wire
// are those of Linux); the second means that it is not.
func readReply(r io.Reader, cookie uint64, p []byte) (syscall.Errno, error) {
	var h [simpleLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, droveway.Errorf(droveway.Unavailable, "read the reply: %w", err)
	}
	magic, got := binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint64(h[8:])
	if magic != magicSimple || got != cookie {
		return 0, droveway.Errorf(droveway.Invalid, "broken reply: magic %#x, cookie %d for request %d", magic, got, cookie)
	}
	if e := binary.BigEndian.Uint32(h[4:]); e != 0 {
		return syscall.Errno(e), nil
	}
	if _, err := io.ReadFull(r, p); err != nil {
		return 0, droveway.Errorf(droveway.Unavailable, "read the data: %w", err)
	}
	return 0, nil
}
