package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// cache is where images stay between runs.
type cache struct{ dir string }

func newCache() (*cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for the images: %w", err)
	}
	c := &cache{filepath.Join(dir, "droveway", "tiny")}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a place for the images: %w", err)
	}
	return c, nil
}

// get gives the path of the image of a size, which is made if need be.
func (c *cache) get(ctx context.Context, mib int64) (string, error) {
	return tinyimage.Build(ctx, tinyimage.Config{Cache: c.dir, SizeMiB: mib, Filled: true})
}

// has reports whether an image of the size is there, be it one of an older
// program, which gives its room to the new one.
func (c *cache) has(mib int64) bool {
	found, err := filepath.Glob(filepath.Join(c.dir, fmt.Sprintf("tiny-%d-filled-*.raw", mib)))
	return err == nil && len(found) > 0
}

// room refuses sizes for which the disks have no room: a cached image of each, a
// guest of Droveway's and another of each, and one disk more, where a guest goes
// or where an image is in the fleet's library.
func (c *cache) room(sizes []int64, dir string) error {
	const spare = 1024 // MiB
	var cached, guests int64
	for _, s := range sizes {
		guests += 2 * s
		if !c.has(s) {
			cached += s
		}
	}
	work := guests + slices.Max(sizes) + spare
	same, err := sameFileSystem(c.dir, dir)
	if err != nil {
		return err
	}
	if same {
		return enough(dir, work+cached)
	}
	if err := enough(dir, work); err != nil {
		return err
	}
	return enough(c.dir, cached)
}

func enough(dir string, need int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("ask for the room in %s: %w", dir, err)
	}
	if free := int64(s.Bavail) * s.Bsize >> 20; free < need {
		return droveway.Errorf(droveway.Unavailable, "%s has %d MiB free and the benchmark needs %d MiB: free some, or give smaller -sizes", dir, free, need)
	}
	return nil
}

func sameFileSystem(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Stat(a, &sa); err != nil {
		return false, fmt.Errorf("look at %s: %w", a, err)
	}
	if err := unix.Stat(b, &sb); err != nil {
		return false, fmt.Errorf("look at %s: %w", b, err)
	}
	return sa.Dev == sb.Dev, nil
}
