package origin

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/source"
)

const (
	chunk = 64 << 10 // what is fetched at least, in bytes: a guest that writes a little waits for no more
	most  = 4 << 20  // in one request

	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
)

// remote is a source of which parts can be read.
type remote interface {
	Read(ctx context.Context, p []byte, off int64) error
}

// store is a source, with what was read of it kept on the disk.
type store struct {
	from     remote
	size     int64
	file     *os.File
	marks    *marks
	patience time.Duration // how long a read waits for a source that is away
	log      *slog.Logger
	end      context.Context // of what is read ahead
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu    sync.Mutex
	under map[int64]chan struct{} // chunks that are being fetched; closed at the end
	away  error                   // why the source gives nothing; nil: it does
	ahead ahead
	haste haste
}

// newStore opens a store; data and map are paths of files, made if missing.
func newStore(from remote, size int64, data, seen string, patience time.Duration, log *slog.Logger) (*store, error) {
	f, err := os.OpenFile(data, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fileError("open", data, err)
	}
	m, err := openMarks(seen, (size+chunk-1)/chunk)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	s := &store{from: from, size: size, file: f, marks: m, patience: patience, log: log, under: map[int64]chan struct{}{}}
	s.end, s.stop = context.WithCancel(context.Background())
	return s, nil
}

func (s *store) close() {
	s.mu.Lock()
	s.stop() // nobody foresees anything after that
	s.mu.Unlock()
	s.work.Wait()
	_ = s.file.Close() // nothing is kept that could not be fetched again
	_ = s.marks.f.Close()
}

// have is how many bytes are here.
func (s *store) have() int64 { return min(s.marks.count()*chunk, s.size) }

// waiting is why the source gives nothing, nil if it does.
func (s *store) waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

// read fills p from off on, and waits for a source that is away. Who reads in bulk
// lets others go first.
func (s *store) read(ctx context.Context, p []byte, off int64, bulk bool) error {
	if off < 0 || off+int64(len(p)) > s.size {
		return io.ErrUnexpectedEOF
	}
	first, last := off/chunk, (off+int64(len(p))-1)/chunk
	for at := first; at <= last; {
		n, err := s.bring(ctx, at, last, bulk)
		if err != nil {
			return err
		}
		at += n
	}
	s.foresee(first, last)
	if _, err := s.file.ReadAt(p, off); err != nil {
		return fileError("read", s.file.Name(), err)
	}
	return nil
}

// silenceOf is how long a source may say nothing before it counts as away. The rest of
// the patience is for others to be tried again.
func silenceOf(patience time.Duration) time.Duration { return patience / 2 }

// bring makes sure that the chunk at is here, and gives how many are from there on. It
// begins nothing that could end after its patience.
func (s *store) bring(ctx context.Context, at, last int64, bulk bool) (int64, error) {
	pause, until := retryMin, time.Now().Add(s.patience-silenceOf(s.patience))
	for {
		n, other := s.claim(at, last, most/chunk)
		switch {
		case n == 0:
			return 1, nil
		case other != nil:
			select {
			case <-other:
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
			if err := s.waiting(); err != nil && !s.marks.has(at) && time.Now().After(until) {
				return 0, err
			}
			continue
		}
		done := s.haste.begin(ctx, bulk)
		err := s.fetch(ctx, at, n)
		if done(); err == nil {
			return n, nil
		}
		if ctx.Err() != nil || errors.Is(err, source.ErrChanged) || full(err) || time.Now().After(until) {
			return 0, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		pause = min(2*pause, retryMax)
	}
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// claim gives how many chunks from at to last are missing in a row, and marks them
// as being fetched; none if the first is here. If somebody else fetches that one,
// other is closed at the end of it.
func (s *store) claim(at, last, limit int64) (n int64, other <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks.has(at) {
		return 0, nil
	}
	if other := s.under[at]; other != nil {
		return 1, other
	}
	return s.take(at, last, limit), nil
}

// take marks the chunks from at to last as being fetched, as many as are missing in
// a row, and no more than the limit. mu is held.
func (s *store) take(at, last, limit int64) (n int64) {
	done := make(chan struct{})
	for c := at; c <= last && n < limit && !s.marks.has(c) && s.under[c] == nil; c++ {
		s.under[c] = done
		n++
	}
	return n
}

// fetch brings chunks that were claimed.
func (s *store) fetch(ctx context.Context, at, n int64) error {
	p := make([]byte, min(n*chunk, s.size-at*chunk))
	began := time.Now()
	err := s.from.Read(ctx, p, at*chunk)
	if ctx.Err() == nil {
		s.note(err)
	}
	took := time.Since(began)
	if err == nil {
		err = s.keep(p, at, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if close(s.under[at]); err == nil {
		s.ahead.learn(len(p), took)
	}
	for c := at; c < at+n; c++ {
		delete(s.under, c)
	}
	return err
}

// keep writes what has arrived, and then that it is here.
func (s *store) keep(p []byte, at, n int64) error {
	if _, err := s.file.WriteAt(p, at*chunk); err != nil {
		err = fileError("write", s.file.Name(), err)
		s.note(err)
		return err
	}
	return s.marks.set(at, n)
}

// note remembers whether the source gives what it is asked for.
func (s *store) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.away == nil {
		s.log.Warn("the source gives nothing: who reads it waits", "error", err)
	}
	if err == nil && s.away != nil {
		s.log.Info("the source gives what it is asked for again")
	}
	s.away = err
}

// fileError wraps an error of the file system; nil stays nil.
func fileError(attempt, what string, err error) error {
	if err == nil {
		return nil
	}
	kind := droveway.Internal
	switch {
	case errors.Is(err, fs.ErrPermission):
		kind = droveway.Permission
	case full(err):
		kind = droveway.Unavailable
	}
	return droveway.Errorf(kind, "%s %s: %w", attempt, what, err)
}
