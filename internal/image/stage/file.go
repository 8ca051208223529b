package stage

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/volume"
)

const (
	buffer = 1 << 20
	// After a kill what came since the last checkpoint is fetched again: so many
	// bytes, or what came in this time.
	checkpointBytes = 64 << 20
	checkpointTime  = 2 * time.Second
)

// record is what is known of a file, up to a place where it is on the disk.
type record struct {
	Offset int64  `json:"offset"`         // bytes that have arrived
	Hash   []byte `json:"hash,omitempty"` // state of SHA-256 there
	Whole  bool   `json:"whole"`          // nothing is missing
	About  About  `json:"about"`
}

// About is what a transfer must remember of its source.
type About struct {
	Link string `json:"link,omitempty"` // where it is fetched from; may hold secrets
	Tag  string `json:"tag,omitempty"`  // of its contents, as the server has it
	Size int64  `json:"size"`           // bytes; 0: not known
}

// File is a file on its way in. It is used by one goroutine.
type File struct {
	f       *os.File
	path    string
	rec     record
	sum     hash.Hash
	saved   int64 // offset of the last checkpoint
	savedAt time.Time
	most    int64 // bytes that it may have
	release func()
}

func (d *Dir) load(id string) (*File, error) {
	path := d.file(id)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fileError("open", path, err)
	}
	s := &File{f: f, path: path, sum: sha256.New(), savedAt: time.Now(), most: format.MaxSize, release: func() {}}
	if err := s.restore(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return s, nil
}

// restore goes back to the last checkpoint. Without a sound record it begins
// anew: nothing is lost but time.
func (s *File) restore() error {
	b, err := os.ReadFile(s.path + recordSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("read", s.path+recordSuffix, err)
	}
	info, err := s.f.Stat()
	if err != nil {
		return fileError("look at", s.path, err)
	}
	var r record
	if json.Unmarshal(b, &r) == nil {
		s.rec = r
		if r.Offset > info.Size() || s.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(r.Hash) != nil {
			s.forget()
		}
	}
	return s.cut(info)
}

// forget begins anew, with the same source.
func (s *File) forget() { s.rec, s.sum = record{About: s.rec.About}, sha256.New() }

// cut drops what lies beyond the checkpoint. An image may have been given the file
// as its own, under a second name: that one keeps all of it.
func (s *File) cut(info fs.FileInfo) error {
	if have, ok := info.Sys().(*syscall.Stat_t); ok && have.Nlink > 1 && info.Size() != s.rec.Offset {
		s.forget()
		return s.renew()
	}
	s.saved = s.rec.Offset
	if err := s.f.Truncate(s.rec.Offset); err != nil {
		return fileError("shorten", s.path, err)
	}
	return nil
}

// renew puts an empty file in the place of the one that is there.
func (s *File) renew() error {
	f, err := os.OpenFile(s.path+newFile, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fileError("make", s.path+newFile, err)
	}
	if err := os.Rename(f.Name(), s.path); err != nil {
		_ = f.Close()
		return fileError("rename", f.Name(), err)
	}
	_ = s.f.Close() // nobody reads it again
	s.f, s.saved = f, 0
	return nil
}

// Offset is how many bytes have arrived.
func (s *File) Offset() int64 { return s.rec.Offset }

// Whole reports whether all has arrived: the stream has ended, or as many bytes are
// here as were to come.
func (s *File) Whole() bool {
	return s.rec.Whole || s.rec.About.Size > 0 && s.rec.Offset == s.rec.About.Size
}

// About is what was remembered of the source.
func (s *File) About() About { return s.rec.About }

// SHA256 is the checksum of what has arrived.
func (s *File) SHA256() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// Path is where the file is.
func (s *File) Path() string { return s.path }

// Remember keeps what is to be known of the source.
func (s *File) Remember(a About) error {
	s.rec.About = a
	return s.save()
}

// Reset forgets what has arrived, but not the source. What was made of the file
// meanwhile keeps it.
func (s *File) Reset() error {
	if err := s.renew(); err != nil {
		return err
	}
	s.forget()
	return s.save()
}

// Append adds what a stream gives until it ends, which makes the file whole.
// progress, which may be nil, is told the bytes that have arrived in all. If it
// fails, what has arrived is kept: Unavailable says that the stream broke off, ctx
// ended, or the disk is full; Invalid that the stream is longer than the size that
// was remembered, or than any image. A stream that says of which kind its error is has
// that.
func (s *File) Append(ctx context.Context, from io.Reader, progress func(done int64)) error {
	err := s.append(ctx, from, progress)
	if err == nil {
		s.rec.Whole = true
	}
	if again := s.save(); err == nil {
		err = again
	}
	return err
}

func (s *File) append(ctx context.Context, from io.Reader, progress func(done int64)) error {
	buf := make([]byte, buffer)
	for {
		if err := context.Cause(ctx); err != nil {
			return droveway.Errorf(droveway.Unavailable, "after %d bytes: %w", s.rec.Offset, err)
		}
		n, err := from.Read(buf)
		if again := s.take(buf[:n]); again != nil {
			return again
		}
		if progress != nil {
			progress(s.rec.Offset)
		}
		switch {
		case err == io.EOF:
			return s.checkEnd()
		case err != nil:
			return droveway.Errorf(volume.KindOfStream(ctx, err), "after %d bytes: %w", s.rec.Offset, err)
		case s.due():
			if err := s.save(); err != nil {
				return err
			}
		}
	}
}

func (s *File) due() bool {
	return s.rec.Offset-s.saved >= checkpointBytes || time.Since(s.savedAt) >= checkpointTime
}

func (s *File) take(p []byte) error {
	size, end := s.rec.About.Size, s.rec.Offset+int64(len(p))
	switch {
	case size > 0 && end > size:
		s.rec.About.Size = 0 // so that what is here does not pass for the whole
		return droveway.Errorf(droveway.Invalid, "the source is longer than the %d bytes that were said: it has changed, begin anew", size)
	case end > s.most:
		return droveway.Errorf(droveway.Invalid, "the source has given more than %d bytes and has not ended: no image has so many", s.most)
	case s.rec.Whole && len(p) > 0:
		return droveway.Errorf(droveway.Invalid, "the source was whole with %d bytes: begin anew", s.rec.Offset)
	}
	if err := volume.WriteSparse(s.f, p, s.rec.Offset); err != nil {
		return volume.NoRoom(err, s.path, max(size-s.rec.Offset, int64(len(p))))
	}
	s.sum.Write(p)
	s.rec.Offset += int64(len(p))
	return nil
}

func (s *File) checkEnd() error {
	if size := s.rec.About.Size; size > 0 && s.rec.Offset < size {
		return droveway.Errorf(droveway.Unavailable, "the source ended after %d of %d bytes", s.rec.Offset, size)
	}
	return nil
}

// save makes a checkpoint. The record is written once the bytes are on the disk.
func (s *File) save() error {
	if err := s.f.Truncate(s.rec.Offset); err != nil { // the end may be a hole
		return volume.NoRoom(err, s.path, 1)
	}
	if err := s.f.Sync(); err != nil {
		return volume.NoRoom(err, s.path, 1)
	}
	state, err := s.sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return droveway.Errorf(droveway.Internal, "keep the checksum of %s: %w", s.path, err)
	}
	s.rec.Hash, s.saved, s.savedAt = state, s.rec.Offset, time.Now()
	b, err := json.Marshal(s.rec)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "keep the record of %s: %w", s.path, err)
	}
	return s.write(b)
}

// write makes the record durable: what it says holds after a power cut, too.
func (s *File) write(b []byte) error {
	if err := writeSynced(s.path+newRecord, b); err != nil {
		return volume.NoRoom(err, s.path+newRecord, int64(len(b)))
	}
	if err := os.Rename(s.path+newRecord, s.path+recordSuffix); err != nil {
		return fileError("rename", s.path+newRecord, err)
	}
	return syncDir(filepath.Dir(s.path))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if again := f.Close(); err == nil {
		err = again
	}
	return err
}

// syncDir makes renames durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fileError("flush", path, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fileError("flush", path, err)
	}
	return nil
}

// Close keeps what has arrived.
func (s *File) Close() error {
	defer s.release()
	if err := s.f.Close(); err != nil {
		return fileError("close", s.path, err)
	}
	return nil
}
