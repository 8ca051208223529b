package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/convert"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/survey"
	"github.com/droveway/droveway/internal/volume"
)

// Order says what is to be imported.
type Order struct {
	Name     string           // of the image
	Disk     string           // which disk of an archive, by number or name; empty: its only one
	SHA256   string           // that the source must have; empty: any
	Size     int64            // bytes that the stream is said to have; 0: not known
	Progress func(done int64) // is told the bytes read; may be nil
}

// Import takes an image in from a stream and returns its description. The error is
// Exists if there is such an image, Conflict while it is being imported, Invalid if
// the stream is no image or not the one that was ordered, Unavailable if the stream
// breaks off or the disk is full; then nothing is left. Who repeats an import after
// a crash asks Get first.
//
//	stream ─▶ .new-… ─▶ surveyed ─▶ <name>, converted or as it is ─▶ <name>.json: now it is there
func (l *Library) Import(ctx context.Context, o Order, from io.Reader) (droveway.Image, error) {
	if err := droveway.ValidName("image", o.Name); err != nil {
		return droveway.Image{}, err
	}
	if err := droveway.ValidSHA256(o.SHA256); err != nil {
		return droveway.Image{}, err
	}
	release, err := l.claim(o.Name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer release()
	if err := l.checkNew(o.Name); err != nil {
		return droveway.Image{}, err
	}
	img, err := l.take(ctx, o, from)
	if err != nil {
		return droveway.Image{}, droveway.Errorf(droveway.KindOf(err), "import image %s: %w", o.Name, err)
	}
	return img, nil
}

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

// room refuses what can be told not to fit.
func (l *Library) room(size int64) error {
	if size > format.MaxSize {
		return droveway.Errorf(droveway.Invalid, "the source has %d bytes: no image has more than %d", size, int64(format.MaxSize))
	}
	have, err := l.Free()
	if err == nil && size > have {
		err = droveway.Errorf(droveway.Unavailable, "no room on the server: %d MiB are to come and %d MiB are free: make room: %w", size>>20, have>>20, syscall.ENOSPC)
	}
	return err
}

// bounded fails as soon as a stream has more bytes than it was said to have, or than any
// image has: it would else fill the disk before anybody looks at it.
type bounded struct {
	io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, droveway.Errorf(droveway.Invalid, "the source is longer than it was said to be, or than any image is: nothing is kept of it")
	}
	return n, err
}

// take brings the stream to the disk and makes the image of it.
func (l *Library) take(ctx context.Context, o Order, from io.Reader) (droveway.Image, error) {
	if err := l.room(o.Size); err != nil {
		return droveway.Image{}, err
	}
	from = &bounded{from, cmp.Or(o.Size, format.MaxSize)}
	f, err := l.temp(o.Name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	hash := sha256.New()
	if _, err := volume.CopySparse(ctx, f, from, hash, o.Progress); err != nil {
		return droveway.Image{}, err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if err := CheckSHA256(o.SHA256, sum); err != nil {
		return droveway.Image{}, err
	}
	src, err := survey.OpenAlone(f.Name())
	if err != nil {
		return droveway.Image{}, err
	}
	defer src.Close()
	disks, err := src.Pick(o.Disk)
	if err != nil {
		return droveway.Image{}, err
	}
	if len(disks) > 1 {
		return droveway.Image{}, droveway.Errorf(droveway.Invalid, "the archive has %d disks and this makes one image: choose one by number", len(disks))
	}
	if err := src.Verify(ctx, nil); err != nil {
		return droveway.Image{}, err
	}
	made := droveway.Image{Meta: droveway.Meta{Name: o.Name}, Source: &droveway.ImageSource{Format: src.Format, Member: disks[0].Member, Bytes: src.Bytes, SHA256: sum}}
	return l.make(ctx, made, Disk{Source: src, Disk: disks[0], Path: f.Name()}, nil)
}

// Disk is a disk of a source whose file is in a directory of the library.
type Disk struct {
	Source *survey.Source
	Disk   survey.Disk
	Path   string // of the source's file
	Part   string // where an unfinished conversion stays; empty: it does not. On the library's file system
}

// Make makes an image of a disk. img has the name, the source and the job; the
// same image of the same job may be made again, which does nothing. progress,
// which may be nil, is told the bytes of the disk that are done. Errors are as of
// Import.
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
	return l.make(ctx, img, d, progress)
}

func (l *Library) make(ctx context.Context, img droveway.Image, d Disk, progress func(int64)) (droveway.Image, error) {
	if d.Disk.Kept == "" && d.Part != "" {
		return l.goOn(ctx, img, d, progress)
	}
	f, err := l.temp(img.Name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer os.Remove(f.Name()) // does nothing once it has its own name
	defer f.Close()
	if d.Disk.Kept != "" {
		err = keep(&img, d.Path, f.Name())
	} else {
		err = converted(ctx, &img, d, f, progress)
	}
	if err != nil {
		return droveway.Image{}, err
	}
	err = l.settle(ctx, &img, f.Name())
	return img, err
}

// goOn makes an image whose conversion may have begun before a kill.
func (l *Library) goOn(ctx context.Context, img droveway.Image, d Disk, progress func(int64)) (droveway.Image, error) {
	f, err := os.OpenFile(d.Part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return droveway.Image{}, fileError("open", d.Part, err)
	}
	defer f.Close()
	if err := converted(ctx, &img, d, f, progress); err != nil {
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

// keep takes the source's file as it is, under a second name: if the machine fails
// now, the first one is still there.
func keep(img *droveway.Image, from, to string) error {
	if err := os.Remove(to); err != nil {
		return fileError("remove", to, err)
	}
	img.SHA256 = img.Source.SHA256
	return fileError("give a second name to", from, os.Link(from, to))
}

func converted(ctx context.Context, img *droveway.Image, d Disk, to *os.File, progress func(int64)) error {
	disk, err := d.Source.Read(d.Disk)
	if err != nil {
		return err
	}
	if d.Part == "" {
		err = convert.ToQCOW2(ctx, to, disk, progress)
	} else {
		err = convert.GoOn(ctx, to, fmt.Sprintf("%s %q", img.Source.SHA256, img.Source.Member), disk, progress)
	}
	if err != nil {
		return err
	}
	img.SHA256, err = sumOf(ctx, to)
	return err
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
