package ntfs

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImage(t *testing.T) {
	v := filesystemtest.Open(t, Open, "ntfs")
	filesystemtest.Files(t, v)
	if i := v.Info(); i.Label != "system" || i.UUID == "" || i.Dirty != "" {
		t.Errorf("%+v", i)
	}
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := filesystem.NewTree(root, v.Info().FoldCase).ReadFile("/MANY/Name-Number-7", 10); err != nil || string(b) != "7\n" {
		t.Errorf("in other case: %q (%v)", b, err)
	}
}

func FuzzNTFS(f *testing.F) { filesystemtest.Fuzz(f, Open, "ntfs") }
