package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// A lock that is about to be let go of is waited for; one that is held is refused.
func TestLockWaitsForAChildOfTheKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { f.Close() })
	unlock, err := lock(&dir, "host")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := lock(&dir, "host"); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a second process: %v, want conflict", err)
	}
}
