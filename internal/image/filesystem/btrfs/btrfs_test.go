package btrfs

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImages(t *testing.T) {
	for _, name := range []string{"plain", "zlib", "lzo", "zstd"} {
		t.Run(name, func(t *testing.T) {
			v := filesystemtest.Open(t, Open, name)
			filesystemtest.Files(t, v)
			filesystemtest.Links(t, v)
		})
	}
}

func FuzzBtrfs(f *testing.F) { filesystemtest.Fuzz(f, Open, "plain", "zlib", "lzo", "zstd") }
