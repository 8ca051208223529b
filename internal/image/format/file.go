package format

import (
	"io/fs"
	"os"

	"github.com/droveway/droveway"
)

// OpenFile opens the file of an image for reading, and gives its size in bytes. What
// there is not is NotFound; what is no regular file is Invalid, without being opened:
// a named pipe would keep us waiting for its writer.
func OpenFile(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, openError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, droveway.Errorf(droveway.Invalid, "image %s: %s", path, notRegular(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, openError(err)
	}
	return f, info.Size(), nil
}

// notRegular says what a file is instead of an image, and what to do about it.
func notRegular(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder, not a regular file: give the path of an image in it"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe, not a regular file: an image is read in many places: bring it into a file first, or import it from standard input, as -"
	case m&fs.ModeSocket != 0:
		return "a socket, not a regular file: give the path of an image"
	case m&fs.ModeCharDevice == 0 && m&fs.ModeDevice != 0:
		return "a disk, not a regular file: bring it into a file first, or import it from standard input, as -"
	}
	return "not a regular file: give the path of an image"
}

func openError(err error) error {
	switch {
	case os.IsNotExist(err):
		return droveway.Errorf(droveway.NotFound, "open the image: %w", err)
	case os.IsPermission(err):
		return droveway.Errorf(droveway.Permission, "open the image: %w", err)
	}
	return droveway.Errorf(droveway.Invalid, "open the image: %w", err)
}
