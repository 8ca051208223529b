package ext

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImages(t *testing.T) {
	for _, name := range []string{"ext2", "ext3", "ext4"} {
		t.Run(name, func(t *testing.T) {
			v := filesystemtest.Open(t, Open, name)
			filesystemtest.Files(t, v)
			if v.Info().Kind != name {
				t.Errorf("it is %s, want %s", v.Info().Kind, name)
			}
			filesystemtest.Links(t, v)
		})
	}
}

func FuzzExt(f *testing.F) { filesystemtest.Fuzz(f, Open, "ext2", "ext3", "ext4") }
