package scene

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// Temporary opens a scene in a directory of its own, which Close removes, with the
// image of the tiny guest: a filled disk of so many MiB. Config's Dir and Image are
// left empty.
func Temporary(ctx context.Context, c Config, diskMiB int64) (_ *Scene, err error) {
	// Not in TMPDIR, which may be memory. Short, for the sake of sockets.
	own, err := os.MkdirTemp("/var/tmp", "dws-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the lab: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(own))
		}
	}()
	if err := os.Chmod(own, 0o711); err != nil { // guests may run as another user
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for the image: %w", err)
	}
	c.Image, err = tinyimage.Build(ctx, tinyimage.Config{Cache: filepath.Join(cache, "droveway", "tiny"), SizeMiB: diskMiB, Filled: true})
	if err != nil {
		return nil, err
	}
	if c.Binary, err = filepath.Abs(c.Binary); err != nil {
		return nil, err
	}
	c.Dir = filepath.Join(own, "l")
	s, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	s.own = own
	return s, nil
}
