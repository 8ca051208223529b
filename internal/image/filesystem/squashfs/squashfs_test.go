package squashfs

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImages(t *testing.T) {
	for _, name := range []string{"gzip", "lzo", "xz", "lz4", "zstd"} {
		t.Run(name, func(t *testing.T) {
			v := filesystemtest.Open(t, Open, name)
			filesystemtest.Files(t, v)
			filesystemtest.Links(t, v)
		})
	}
}

func FuzzSquashfs(f *testing.F) { filesystemtest.Fuzz(f, Open, "gzip", "lzo", "xz", "lz4", "zstd") }
