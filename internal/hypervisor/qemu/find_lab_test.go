//go:build lab

package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
)

// Whoever starts an instance may be killed before he has its handle: it is found
// by its directory, and if it left no trace there, it is ended.
func TestFind(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	if _, err := d.Find(t.Context(), t.TempDir()); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("in an empty directory: %v", err)
	}
	s := labSpec(t)
	i := labStart(t, d, s)
	_ = i.Close()
	found, err := New(Config{}).Find(t.Context(), s.Dir)
	if err != nil || found.PID() != i.PID() {
		t.Fatalf("found %v, %v: want process %d", found, err, i.PID())
	}
	_ = found.Close()
	if err := os.Remove(filepath.Join(s.Dir, handleName)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Find(t.Context(), s.Dir); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("without a handle: %v", err)
	}
	soon(t, "the stray has ended", i.proc.ended)
}
