package volume

import (
	"context"
	"io"
	"os"

	"github.com/droveway/droveway"
)

const (
	spoolBuffer = 1 << 20
	holeBlock   = 4 << 10 // zeros in blocks of this size become holes
)

var zeros [holeBlock]byte

// CopySparse writes a stream to a new file, leaving holes where it is zero, and
// returns the length. hash and progress may be nil: hash gets every byte too, and
// progress is told the bytes so far. The file is not flushed. Errors of the
// stream are of the kind that KindOfStream says; those of the file say what is
// missing if the disk is full.
func CopySparse(ctx context.Context, to *os.File, from io.Reader, hash io.Writer, progress func(done int64)) (int64, error) {
	if hash == nil {
		hash = io.Discard
	}
	s := spool{to: to, from: from, hash: hash, buf: make([]byte, spoolBuffer)}
	for !s.eof {
		if err := context.Cause(ctx); err != nil {
			return s.done, droveway.Errorf(droveway.Unavailable, "after %d bytes: %w", s.done, err)
		}
		if err := s.step(ctx); err != nil {
			return s.done, err
		}
		if progress != nil {
			progress(s.done)
		}
	}
	return s.done, fileError("set the length of", to.Name(), to.Truncate(s.done)) // the end may be a hole
}

// file is what a spool needs of an *os.File.
type file interface {
	io.WriterAt
	Name() string
}

type spool struct {
	to   file
	from io.Reader
	hash io.Writer
	buf  []byte
	done int64
	eof  bool
}

// step copies one buffer.
func (s *spool) step(ctx context.Context) error {
	n, err := s.fill()
	if err != nil {
		return droveway.Errorf(KindOfStream(ctx, err), "read the image after %d bytes: %w", s.done+int64(n), err)
	}
	if err := WriteSparse(s.to, s.buf[:n], s.done); err != nil {
		return NoRoom(err, s.to.Name(), max(int64(n), remaining(s.from)+int64(n)))
	}
	s.done += int64(n)
	_, err = s.hash.Write(s.buf[:n])
	return err
}

// KindOfStream gives the kind of an error that ended a stream: its own, so that a
// refusal is not tried again, and Unavailable if it has none, as that of a connection
// that broke off, or if ctx has ended, whose cause says nothing of the stream.
func KindOfStream(ctx context.Context, err error) droveway.Kind {
	if ctx.Err() != nil {
		return droveway.Unavailable
	}
	return droveway.KindOr(err, droveway.Unavailable)
}

// fill reads until the buffer is full or the stream at its end. It is not
// io.ReadFull because a stream that breaks off says io.ErrUnexpectedEOF itself,
// and half an image must never be taken for a whole one.
func (s *spool) fill() (n int, err error) {
	for n < len(s.buf) && err == nil {
		var m int
		m, err = s.from.Read(s.buf[n:])
		n += m
	}
	if err == io.EOF { // readers return it bare
		s.eof, err = true, nil
	}
	return n, err
}

// WriteSparse writes the runs of blocks that are not zero. Where it writes
// nothing the file must have nothing yet.
func WriteSparse(to io.WriterAt, p []byte, off int64) error {
	for len(p) > 0 {
		n := 0
		for n < len(p) && !isZero(p[n:min(n+holeBlock, len(p))]) {
			n = min(n+holeBlock, len(p))
		}
		if n == 0 {
			n = min(holeBlock, len(p))
		} else if _, err := to.WriteAt(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// remaining is how much a stream has still to give, as far as it knows: an
// io.LimitedReader around an HTTP body does.
func remaining(r io.Reader) int64 {
	switch r := r.(type) {
	case *io.LimitedReader:
		return r.N
	case interface{ Len() int }:
		return int64(r.Len())
	}
	return 0
}
