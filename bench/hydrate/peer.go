package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/droveway/droveway"
)

// preCopy is how fast QEMU's mirror of the disk is when it goes before the
// memory, in MiB a second: bench/move measures it.
func (o options) preCopy(ctx context.Context) (float64, error) {
	dir, err := os.MkdirTemp("", "dwh-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "go", "run", "./bench/move", "--modes", "pre-copy", "--binary", o.binary, "--out", dir,
		"--sizes", strconv.FormatInt(o.diskMiB, 10), "--runs", strconv.Itoa(o.runs))
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("measure pre-copy: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench-move.json"))
	if err != nil {
		return 0, fmt.Errorf("measure pre-copy: %w", err)
	}
	return o.read(text)
}

// read reads bench/move's report.
func (o options) read(report []byte) (float64, error) {
	var r struct {
		Rows []struct {
			Sync *float64 `json:"sync_s"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0, fmt.Errorf("report of bench/move: %w", err)
	}
	if len(r.Rows) != 1 || r.Rows[0].Sync == nil || *r.Rows[0].Sync <= 0 {
		return 0, droveway.Errorf(droveway.Internal, "bench/move did not tell how long the disk took: %s", report)
	}
	return float64(o.diskMiB) / *r.Rows[0].Sync, nil
}
