//go:build lab

package inspect

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/initramfs"
)

// TestRuledIsThere reads a real initramfs of Debian to its end: what it has by its
// rules has to be in it.
func TestRuledIsThere(t *testing.T) {
	var said strings.Builder
	cmd := exec.Command("../../../scripts/build-debian-image")
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the image: %v: %s", err, said.String())
	}
	_, err = File(context.Background(), strings.TrimSpace(string(out)), Options{Catalog: catalog(t), Then: func(r *Report, tree *filesystem.Tree) error {
		k := r.System.Kernels[0]
		n, err := tree.Open(k.Initramfs)
		if err != nil {
			return err
		}
		all, err := initramfs.Read(io.NewSectionReader(n, 0, n.Stat().Size), nil)
		if err != nil {
			return err
		}
		if !all.Most || len(k.Ruled) < 2 || k.Virtio != (Virtio{"initramfs", "initramfs", "initramfs", "initramfs"}) {
			t.Errorf("for any machine: %v; %+v", all.Most, k)
		}
		for _, m := range virtioModules {
			if !all.Modules[m] {
				t.Errorf("%s is not in the initramfs", m)
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}
