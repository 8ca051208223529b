package probe

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/probetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	probetest.Main()
	if os.Getenv(unprivileged) != "" {
		watchWithout()
		return
	}
	goleak.VerifyTestMain(m)
}

// unprivileged tells the test's own program to be a probe that may do nothing.
const unprivileged = "PROBE_UNPRIVILEGED"

// watchWithout runs a probe for a moment and tells what it chose.
func watchWithout() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p, err := New(Config{Host: "host-a", Dir: os.Getenv(unprivileged), Sender: &flaky{}, Log: log, Interval: 50 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := p.Run(ctx); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(p.Choice()); err != nil {
		panic(err)
	}
}
