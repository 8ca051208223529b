package volume

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/nbd"
)

// Reader reads a disk as a guest sees it. Close must be called.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64 // bytes that a guest sees
}

// Reader opens a disk for reading, also while a guest writes to it. A raw disk
// is the file itself: the kernel shows every write at once. Of a qcow2 disk a
// private qemu-nbd gives the view of the tables in the file, to which the
// guest's process brings them when it flushes; see Compare for what that means.
func (p *Pool) Reader(ctx context.Context, path string, format droveway.Format) (Reader, error) {
	if err := format.Validate(); err != nil {
		return nil, err
	}
	if format == droveway.Raw {
		return openRaw(path)
	}
	r, err := p.openQCOW2(ctx, path)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "read disk %s: %w", path, err)
	}
	return r, nil
}

// rawReader is a raw disk.
type rawReader struct {
	*os.File
	size int64
}

func openRaw(path string) (Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError("read disk", path, err)
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fileError("read disk", path, err)
	}
	return &rawReader{f, st.Size()}, nil
}

func (r *rawReader) Size() int64 { return r.size }

// qcow2Reader is a qcow2 disk behind a qemu-nbd of its own.
type qcow2Reader struct {
	*nbd.Client
	server *child
	dir    string // of the socket
}

// serving bounds qemu-nbd. Hashing a large disk takes CPU time, so there is no
// bound on that; the reader's Close ends it.
var serving = limits{memory: 2 << 30}

const readerStart = 20 * time.Second

func (p *Pool) openQCOW2(ctx context.Context, path string) (_ Reader, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fileError("find", path, err)
	}
	dir, err := os.MkdirTemp(p.dir, sockets)
	if err != nil {
		return nil, NoRoom(err, p.dir, 1)
	}
	r := &qcow2Reader{dir: dir}
	socket := filepath.Join(dir, "s")
	r.server, err = start(serving, "qemu-nbd", "--read-only", "--socket="+socket, "--image-opts", imageOpts(path))
	if err == nil {
		r.Client, err = dialSoon(ctx, r.server, socket)
	}
	if err != nil {
		_ = r.Close() // the first error is the one that matters
		return nil, err
	}
	return r, nil
}

// imageOpts names a qcow2 file without its lock, which belongs to the guest's
// process. A comma in a value is written twice.
func imageOpts(path string) string {
	return "driver=qcow2,file.driver=file,file.locking=off,file.filename=" + strings.ReplaceAll(path, ",", ",,")
}

// dialSoon connects to a server that is about to listen.
func dialSoon(ctx context.Context, server *child, socket string) (*nbd.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, readerStart)
	defer cancel()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := nbd.Dial(ctx, "unix", socket, "")
		if err == nil {
			return c, nil
		}
		select {
		case <-server.done:
			return nil, droveway.Errorf(droveway.Unavailable, "qemu-nbd ended: %s", server.result().said)
		case <-ctx.Done():
			return nil, droveway.Errorf(droveway.Unavailable, "qemu-nbd does not answer: %w", err)
		case <-again.C:
		}
	}
}

// Close ends the server and removes its socket.
func (r *qcow2Reader) Close() error {
	if r.Client != nil {
		_ = r.Client.Close() // it is only read from
	}
	if r.server != nil {
		r.server.kill()
	}
	return fileError("remove", r.dir, os.RemoveAll(r.dir))
}
