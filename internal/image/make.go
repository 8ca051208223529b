package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/convert"
	"github.com/droveway/droveway/internal/image/survey"
	"github.com/droveway/droveway/internal/volume"
)

// checkNew says Exists if there is an image of that name.
func (l *Library) checkNew(name string) error {
	_, err := l.Get(name)
	if err == nil {
		return droveway.Errorf(droveway.Exists, "image %s is there already: remove it or use another name", name)
	}
	if droveway.Is(err, droveway.NotFound) {
		return nil
	}
	return err
}

// CheckSHA256 says Invalid if a source is not the one that was ordered.
func CheckSHA256(want, got string) error {
	if want == "" || strings.EqualFold(want, got) {
		return nil
	}
	return droveway.Errorf(droveway.Invalid, "the source has SHA-256 %s, not %s as ordered: it is damaged or another one", got, want)
}

// Disk is a disk of a source whose file is in a directory of the library.
type Disk struct {
	Source *survey.Source
	Disk   survey.Disk
	Path   string // of the source's file
	Part   string // where an unfinished conversion stays, on the library's file system
}

// Make makes an image of a disk. img has the name, the source and the job; the
// same image of the same job may be made again, which does nothing. progress,
// which may be nil, is told the bytes of the disk that are done. The error is
// Exists if there is such an image, Conflict while another is being made of that
// name, Unavailable if ctx ends or the disk is full, else that of reading the disk;
// then nothing is left but Part.
//
//	source ─▶ <name>, converted or as it is ─▶ <name>.json: now it is there
func (l *Library) Make(ctx context.Context, img droveway.Image, d Disk, progress func(done int64)) (droveway.Image, error) {
	release, err := l.claim(img.Name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer release()
	if have, err := l.Get(img.Name); err == nil && have.Job == img.Job {
		return have, nil
	}
	if err := l.checkNew(img.Name); err != nil {
		return droveway.Image{}, err
	}
	if d.Disk.Kept != "" {
		return l.keep(ctx, img, d.Path)
	}
	return l.convert(ctx, img, d, progress)
}

// keep takes the source's file as it is, under a second name: if the machine fails
// now, the first one is still there.
func (l *Library) keep(ctx context.Context, img droveway.Image, from string) (droveway.Image, error) {
	f, err := l.temp(img.Name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer os.Remove(f.Name()) // does nothing once it has its own name
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return droveway.Image{}, fileError("remove", f.Name(), err)
	}
	if err := os.Link(from, f.Name()); err != nil {
		return droveway.Image{}, fileError("give a second name to", from, err)
	}
	img.SHA256 = img.Source.SHA256
	err = l.settle(ctx, &img, f.Name())
	return img, err
}

// convert makes an image whose conversion may have begun before a kill.
func (l *Library) convert(ctx context.Context, img droveway.Image, d Disk, progress func(int64)) (droveway.Image, error) {
	f, err := os.OpenFile(d.Part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return droveway.Image{}, fileError("open", d.Part, err)
	}
	defer f.Close()
	disk, err := d.Source.Read(d.Disk)
	if err != nil {
		return droveway.Image{}, err
	}
	of := fmt.Sprintf("%s %q", img.Source.SHA256, img.Source.Member)
	if err := convert.GoOn(ctx, f, of, disk, progress); err != nil {
		return droveway.Image{}, err
	}
	if img.SHA256, err = sumOf(ctx, f); err != nil {
		return droveway.Image{}, err
	}
	err = l.settle(ctx, &img, d.Part)
	return img, err
}

// temp makes a file that the next Open of the library removes.
func (l *Library) temp(name string) (*os.File, error) {
	f, err := os.CreateTemp(l.dir, unfinished+name+"-*")
	return f, fileError("make a file in", l.dir, err)
}

const hashBuffer = 1 << 20

// sumOf reads a file for its SHA-256; Unavailable if ctx ends before.
func sumOf(ctx context.Context, f *os.File) (string, error) {
	hash, buf := sha256.New(), make([]byte, hashBuffer)
	for at := int64(0); ; {
		if err := context.Cause(ctx); err != nil {
			return "", droveway.Errorf(droveway.Unavailable, "check what was made: %w", err)
		}
		n, err := f.ReadAt(buf, at)
		hash.Write(buf[:n])
		if err == io.EOF {
			return hex.EncodeToString(hash.Sum(nil)), nil
		}
		if err != nil {
			return "", fileError("read", f.Name(), err)
		}
		at += int64(n)
	}
}

// settle looks at what was made as at something foreign, and gives it its name.
func (l *Library) settle(ctx context.Context, img *droveway.Image, path string) error {
	info, err := volume.Inspect(ctx, path)
	if err != nil {
		return err
	}
	if err := flush(path); err != nil {
		return err
	}
	img.Format, img.Size, img.Bytes, img.State = info.Format, info.Size, info.Bytes, droveway.ImageReady
	img.Created = time.Now().UTC()
	img.Updated = img.Created
	if err := os.Rename(path, l.path(img.Name)); err != nil {
		return fileError("rename", path, err)
	}
	if err := l.describe(*img); err != nil {
		_ = l.remove(img.Name) // if that fails too, the next Open does it
		return err
	}
	l.log.Info("imported image", "image", img.Name, "format", string(img.Format), "size", img.Size, "from", img.Source.Format)
	return nil
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fileError("flush", path, err)
	}
	defer f.Close()
	return fileError("flush", path, f.Sync())
}

// describe writes the description, which is what makes a file an image.
func (l *Library) describe(img droveway.Image) error {
	b, err := json.Marshal(img)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "describe the image: %w", err)
	}
	f, err := l.temp(img.Name)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing once it has its own name
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return fileError("write", f.Name(), err)
	}
	if err := f.Sync(); err != nil {
		return fileError("flush", f.Name(), err)
	}
	if err := os.Rename(f.Name(), l.path(img.Name+description)); err != nil {
		return fileError("rename", f.Name(), err)
	}
	return l.sync()
}
