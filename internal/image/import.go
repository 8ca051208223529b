package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/volume"
)

// Import takes an image in from a stream and returns its description. progress,
// which may be nil, is told the bytes read. The error is Exists if there is such
// an image, Conflict while it is being imported, Invalid if the stream is no
// image, Unavailable if the stream breaks off or the disk is full; then nothing
// is left. Who repeats an import after a crash asks Get first.
//
//	stream ─▶ .new-… ─▶ inspected ─▶ <name> ─▶ <name>.json: now it is there
func (l *Library) Import(ctx context.Context, name string, from io.Reader, progress func(done int64)) (droveway.Image, error) {
	if err := droveway.ValidName("image", name); err != nil {
		return droveway.Image{}, err
	}
	release, err := l.claim(name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer release()
	if _, err := l.Get(name); !droveway.Is(err, droveway.NotFound) {
		if err == nil {
			err = droveway.Errorf(droveway.Exists, "image %s is there already: remove it or use another name", name)
		}
		return droveway.Image{}, err
	}
	img, err := l.take(ctx, name, from, progress)
	if err != nil {
		return droveway.Image{}, droveway.Errorf(droveway.KindOf(err), "import image %s: %w", name, err)
	}
	l.log.Info("imported image", "image", name, "format", string(img.Format), "size", img.Size)
	return img, nil
}

func (l *Library) take(ctx context.Context, name string, from io.Reader, progress func(int64)) (droveway.Image, error) {
	f, err := os.CreateTemp(l.dir, unfinished+name+"-*")
	if err != nil {
		return droveway.Image{}, fileError("make a file in", l.dir, err)
	}
	defer os.Remove(f.Name()) // does nothing once it has its own name
	defer f.Close()
	img, err := receive(ctx, f, from, progress)
	if err != nil {
		return droveway.Image{}, err
	}
	img.Name = name
	if err := os.Rename(f.Name(), l.path(name)); err != nil {
		return droveway.Image{}, fileError("rename", f.Name(), err)
	}
	if err := l.describe(img); err != nil {
		_ = l.remove(name) // if that fails too, the next Open does it
		return droveway.Image{}, err
	}
	return img, nil
}

// receive brings the stream to the disk and finds out what it is.
func receive(ctx context.Context, f *os.File, from io.Reader, progress func(int64)) (droveway.Image, error) {
	hash := sha256.New()
	if _, err := volume.CopySparse(ctx, f, from, hash, progress); err != nil {
		return droveway.Image{}, err
	}
	info, err := volume.Inspect(ctx, f.Name())
	if err != nil {
		return droveway.Image{}, err
	}
	if err := f.Sync(); err != nil {
		return droveway.Image{}, fileError("flush", f.Name(), err)
	}
	now := time.Now().UTC()
	return droveway.Image{
		Meta:    droveway.Meta{Created: now},
		Format:  info.Format,
		Size:    info.Size,
		Bytes:   info.Bytes,
		SHA256:  hex.EncodeToString(hash.Sum(nil)),
		State:   droveway.ImageReady,
		Updated: now,
	}, nil
}

// describe writes the description, which is what makes a file an image.
func (l *Library) describe(img droveway.Image) error {
	b, err := json.Marshal(img)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "describe the image: %w", err)
	}
	f, err := os.CreateTemp(l.dir, unfinished+img.Name+"-*")
	if err != nil {
		return fileError("make a file in", l.dir, err)
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
