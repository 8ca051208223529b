package probe

import (
	"context"
	"encoding/json"
	"io"
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
	if os.Getenv(contained) != "" {
		watchAloud()
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

// contained tells the test's own program to be a probe that writes its reports
// to standard output.
const contained = "PROBE_CONTAINED"

// watchAloud runs a probe until standard input ends.
func watchAloud() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p, err := New(Config{Host: "host-a", Dir: os.Getenv(contained), Sender: aloud{}, Log: log, Interval: 50 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends
	}()
	if err := p.Run(ctx); err != nil {
		panic(err)
	}
}

type aloud struct{}

func (aloud) Send(_ context.Context, b []byte) error {
	_, err := os.Stdout.Write(b) // a line
	return err
}
