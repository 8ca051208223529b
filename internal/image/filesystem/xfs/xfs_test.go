package xfs

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImages(t *testing.T) {
	for _, name := range []string{"xfs", "xfs4"} {
		t.Run(name, func(t *testing.T) {
			v := filesystemtest.Open(t, Open, name)
			filesystemtest.Files(t, v)
			filesystemtest.Links(t, v)
			if d := v.Info().Dirty; d != "" {
				t.Errorf("a new filesystem is dirty: %s", d)
			}
		})
	}
}

func FuzzXFS(f *testing.F) { filesystemtest.Fuzz(f, Open, "xfs", "xfs4") }
