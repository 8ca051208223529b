package volume

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/droveway/droveway"
)

// Create makes a blank volume that takes no room until it is written. It does
// nothing if the volume is there with that format and size; if it is there with
// others the error is of kind Exists.
func (p *Pool) Create(ctx context.Context, name string, format droveway.Format, sizeBytes int64) error {
	if sizeBytes == 0 {
		return droveway.Errorf(droveway.Invalid, "volume %s of size 0: give a size", name)
	}
	return p.make(ctx, name, format, sizeBytes, func(dir string) (string, error) {
		path := filepath.Join(dir, "blank")
		return path, blank(ctx, path, format, sizeBytes)
	})
}

// Fill makes a volume from the bytes of an image in format srcFormat, grown to
// sizeBytes; 0 leaves it as large as the image. progress, which may be nil, is
// told the bytes read from the image. A volume that is there already is treated
// as in Create (with size 0 any size fits) and from is not read.
//
//	stream ─▶ .new-…/image ─▶ checked ─┬─ same format ─┬─▶ grown ─▶ flushed ─▶ renamed
//	                                   └─ converted ───┘
//
// A kill at any moment leaves either nothing but .new- files, which the next
// Open removes, or the whole volume. If the disk is too full the error is of
// kind Unavailable, says how much is missing, and nothing is left.
func (p *Pool) Fill(ctx context.Context, name string, format droveway.Format, sizeBytes int64, from io.Reader, srcFormat droveway.Format, progress func(done int64)) error {
	if err := srcFormat.Validate(); err != nil {
		return droveway.Errorf(droveway.Invalid, "image of volume %s: %w", name, err)
	}
	return p.make(ctx, name, format, sizeBytes, func(dir string) (string, error) {
		path := filepath.Join(dir, "image")
		if err := receive(ctx, path, from, progress); err != nil {
			return "", err
		}
		return shape(ctx, path, srcFormat, format, sizeBytes)
	})
}

// maker makes a disk in a directory that is its own and returns its path.
type maker func(dir string) (string, error)

// make makes a volume under a temporary name and gives it its own in the end.
func (p *Pool) make(ctx context.Context, name string, format droveway.Format, size int64, m maker) error {
	if err := checkWanted(name, format, size); err != nil {
		return err
	}
	release, err := p.claim(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	if there, err := p.isThere(name, format, size); there || err != nil {
		return err
	}
	if err := p.makeNew(name, format, m); err != nil {
		return droveway.Errorf(droveway.KindOf(err), "make volume %s: %w", name, err)
	}
	p.log.Info("made volume", "volume", name, "format", string(format))
	return nil
}

func checkWanted(name string, format droveway.Format, size int64) error {
	if err := validName(name); err != nil {
		return err
	}
	if err := format.Validate(); err != nil {
		return droveway.Errorf(droveway.Invalid, "volume %s: %w", name, err)
	}
	if size < 0 || size > MaxSize || size%sector != 0 {
		return droveway.Errorf(droveway.Invalid, "volume %s of %d bytes: give a multiple of %d up to %d", name, size, sector, int64(MaxSize))
	}
	return nil
}

// isThere reports whether the volume is there as wanted; if it is there
// otherwise, that is an error.
func (p *Pool) isThere(name string, format droveway.Format, size int64) (bool, error) {
	path, is, err := p.Path(name)
	if droveway.Is(err, droveway.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	has, err := sizeOf(path, is)
	if err != nil {
		return false, droveway.Errorf(droveway.KindOf(err), "volume %s: %w", name, err)
	}
	if is != format || size != 0 && size != has {
		return false, droveway.Errorf(droveway.Exists, "volume %s is there as %s of %d bytes, not %s of %d: remove it or use another name", name, is, has, format, size)
	}
	return true, nil
}

func (p *Pool) makeNew(name string, format droveway.Format, m maker) error {
	dir, err := os.MkdirTemp(p.dir, unfinished+name+"-")
	if err != nil {
		return NoRoom(err, p.path(name, format), 1)
	}
	defer os.RemoveAll(dir) // what it leaves, the next Open removes
	made, err := m(dir)
	if err != nil {
		return err
	}
	if err := flush(made); err != nil {
		return err
	}
	if err := os.Rename(made, p.path(name, format)); err != nil {
		return fileError("rename", made, err)
	}
	return syncDir(p.dir)
}

// blank makes an empty disk.
func blank(ctx context.Context, path string, format droveway.Format, size int64) error {
	if format == droveway.QCOW2 {
		_, err := mustRun(ctx, copying(0), "qemu-img", "create", "-q", "-f", "qcow2", path, strconv.FormatInt(size, 10))
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return NoRoom(err, path, 1)
	}
	defer f.Close()
	return fileError("set the length of", path, f.Truncate(size))
}

// receive writes a stream to a new file.
func receive(ctx context.Context, path string, from io.Reader, progress func(int64)) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return NoRoom(err, path, max(1, remaining(from)))
	}
	defer f.Close()
	_, err = CopySparse(ctx, f, from, nil, progress)
	return err
}

// shape brings an image to the format and size of its volume.
func shape(ctx context.Context, path string, src, dst droveway.Format, size int64) (string, error) {
	info, err := InspectAs(ctx, path, src)
	if err != nil {
		return "", err
	}
	if size == 0 {
		size = info.Size
	}
	if size < info.Size {
		return "", droveway.Errorf(droveway.Invalid, "the image needs a disk of %d MiB, and %d are wanted: give the disk at least that", mib(info.Size), mib(size))
	}
	if src != dst {
		if path, err = convert(ctx, path, src, dst, info.Size); err != nil {
			return "", err
		}
	}
	if size == info.Size {
		return path, nil
	}
	return path, grow(ctx, path, dst, size)
}

func grow(ctx context.Context, path string, format droveway.Format, size int64) error {
	if format == droveway.Raw {
		return fileError("grow", path, os.Truncate(path, size))
	}
	_, err := mustRun(ctx, copying(0), "qemu-img", "resize", "-q", "-f", "qcow2", path, strconv.FormatInt(size, 10))
	return err
}

// convert writes the disk beside itself in another format, with its holes.
func convert(ctx context.Context, path string, src, dst droveway.Format, size int64) (string, error) {
	if err := roomToConvert(ctx, path, src, dst); err != nil {
		return "", err
	}
	out := path + "." + string(dst)
	_, err := mustRun(ctx, copying(size), "qemu-img", "convert", "-q", "-f", string(src), "-O", string(dst), path, out)
	if err != nil {
		return "", err
	}
	// The image would take its room until the volume is done.
	return out, fileError("remove", path, os.Remove(path))
}

// roomToConvert finds out before the work whether there is room for it.
func roomToConvert(ctx context.Context, path string, src, dst droveway.Format) error {
	out, err := mustRun(ctx, copying(0), "qemu-img", "measure", "--output=json", "-f", string(src), "-O", string(dst), path)
	if err != nil {
		return err
	}
	var need struct{ Required int64 }
	if err := json.Unmarshal(out, &need); err != nil {
		return droveway.Errorf(droveway.Internal, "read the answer of qemu-img measure: %w", err)
	}
	free, err := FreeBytes(filepath.Dir(path))
	if err == nil && need.Required > free {
		err = NoRoom(syscall.ENOSPC, path, need.Required-free)
	}
	return err
}

// copying bounds qemu-img on files that were checked: only a hang ends it. size
// is the bytes that it has to copy.
func copying(size int64) limits {
	const slowest = 4 << 20 // bytes a second
	long := 10*time.Minute + time.Duration(size/slowest)*time.Second
	return limits{memory: 2 << 30, cpu: long, time: long}
}

// flush makes the bytes of a file durable.
func flush(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fileError("flush", path, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return NoRoom(err, path, 1) // with delayed allocation a full disk shows only here
	}
	return nil
}
