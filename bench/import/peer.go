package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/bench/guestfs"
)

// peer gives the surroundings that virt-v2v needs. An error says why it cannot run.
func (w *workshop) peer(ctx context.Context) ([]string, error) {
	for _, program := range []string{"virt-v2v", "nbdkit", "nbdcopy"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, errors.New(program + " is not installed: scripts/setup --bench installs it")
		}
	}
	dir := filepath.Join(w.dir, "modules")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for the modules: %w", err)
	}
	return guestfs.Env(ctx, dir, w.accelerator)
}

// byV2V converts the disk as a person would who has virt-v2v.
func (w *workshop) byV2V(ctx context.Context, dir string) (c conversion, err error) {
	cmd := exec.CommandContext(ctx, "virt-v2v", "-i", "disk", w.source, "-o", "local", "-os", dir, "-of", "qcow2")
	cmd.Env = w.v2v
	var warned strings.Builder
	cmd.Stderr = &warned
	out, took, err := cost.Of(cmd)
	said := string(out) + warned.String()
	if err != nil {
		return c, fmt.Errorf("%w: %s", err, said)
	}
	disks, err := filepath.Glob(filepath.Join(dir, "*-sda"))
	if err != nil || len(disks) != 1 {
		return c, fmt.Errorf("virt-v2v has made %d disks, want one: %s", len(disks), said)
	}
	return conversion{Answer: v2vAnswer(said), disk: disks[0], Cost: took}, nil
}

// v2vAnswer sums up what virt-v2v said: which system it converted, and of what it warns.
func v2vAnswer(said string) string {
	answer, warnings := "converted", []string{}
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if _, what, ok := strings.Cut(line, "] Converting "); ok {
			answer = "converted " + strings.TrimSuffix(what, " to run on KVM")
		}
		if _, what, ok := strings.Cut(line, "virt-v2v: warning: "); ok {
			warnings = append(warnings, what)
		}
	}
	if len(warnings) > 0 {
		answer += "; warns: " + strings.Join(warnings, "; ")
	}
	return answer
}

// virtualSize reads what qemu-img info says.
func virtualSize(info string) (int64, error) {
	var i struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(info), &i); err != nil || i.Size == 0 {
		return 0, fmt.Errorf("qemu-img info tells no size: %s", info)
	}
	return i.Size, nil
}
