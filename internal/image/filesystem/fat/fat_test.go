package fat

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImages(t *testing.T) {
	for _, name := range []string{"fat12", "fat16", "fat32"} {
		t.Run(name, func(t *testing.T) {
			v := filesystemtest.Open(t, Open, name)
			filesystemtest.Files(t, v)
			if i := v.Info(); i.Label != "ESP" || i.UUID == "" {
				t.Errorf("label %q, UUID %q", i.Label, i.UUID)
			}
		})
	}
}

func FuzzFAT(f *testing.F) { filesystemtest.Fuzz(f, Open, "fat12", "fat16", "fat32") }
