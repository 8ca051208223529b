package iso

import (
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

func TestImages(t *testing.T) {
	for _, name := range []string{"rock"} {
		t.Run(name, func(t *testing.T) {
			v := filesystemtest.Open(t, Open, name)
			filesystemtest.Files(t, v)
			filesystemtest.Links(t, v)
		})
	}
}

func FuzzISO(f *testing.F) { filesystemtest.Fuzz(f, Open, "rock", "joliet") }

func TestJoliet(t *testing.T) {
	v := filesystemtest.Open(t, Open, "joliet")
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	tree := filesystem.NewTree(root, v.Info().FoldCase)
	if b, err := tree.ReadFile("/name-NUMBER-7", 10); err != nil || string(b) != "7\n" {
		t.Errorf("name-number-7 is %q (%v)", b, err)
	}
	if v.Info().Label != "JOLIET" {
		t.Errorf("label %q", v.Info().Label)
	}
}
