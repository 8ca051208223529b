package netns

import (
	"errors"
	"os"
	"testing"

	"github.com/droveway/droveway"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One's own namespace can be entered without privileges.
func TestOwn(t *testing.T) {
	t.Parallel()
	ns, err := Of("/proc", os.Getpid())
	if err != nil || ns == 0 {
		t.Fatal(ns, err)
	}
	failed := errors.New("failed")
	ran := false
	err = Inside("/proc", os.Getpid(), func() error {
		ran = true
		return failed
	})
	if !ran || !errors.Is(err, failed) {
		t.Error(ran, err)
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	if _, err := Of("/proc", 1<<30); !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
	if err := Inside("/proc", 1<<30, func() error { return nil }); !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
}
