package image

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/droveway/droveway"
)

// Replace puts the file at path, which is on the library's file system and has been
// made from the image, in its place. img is the image's description as it is to be;
// format, sizes and hash are found out. A kill in between leaves no image, and path or
// not: who repeats it begins with Make.
func (l *Library) Replace(ctx context.Context, img droveway.Image, path string) (droveway.Image, error) {
	release, err := l.claim(img.Name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer release()
	f, err := os.Open(path)
	if err != nil {
		return droveway.Image{}, fileError("open", path, err)
	}
	defer f.Close()
	if img.SHA256, err = sumOf(ctx, f); err != nil {
		return droveway.Image{}, err
	}
	// First the description, which would not be true of the new file.
	if err := os.Remove(l.path(img.Name + description)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return droveway.Image{}, fileError("replace image", img.Name, err)
	}
	err = l.settle(ctx, &img, path)
	return img, err
}

// Describe changes what the description says of an image beside its bytes.
func (l *Library) Describe(name string, edit func(*droveway.Image)) (droveway.Image, error) {
	release, err := l.claim(name)
	if err != nil {
		return droveway.Image{}, err
	}
	defer release()
	img, err := l.Get(name)
	if err != nil {
		return img, err
	}
	edit(&img)
	return img, l.describe(img)
}

// Path is where the file of an image is. It is for reading only.
func (l *Library) Path(name string) string { return l.path(name) }
