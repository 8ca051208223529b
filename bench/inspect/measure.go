package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/bench/guestfs"
)

// rounds is how often each image is inspected; the median counts.
const rounds = 7

// result is what was measured on one image.
type result struct {
	Image string `json:"image"`
	OS    string `json:"os"` // the answer
	cost.Cost
}

func measure(ctx context.Context, binary string, i image) (result, error) {
	r := result{Image: i.name}
	args := []string{"image", "inspect", i.path, "-o", "json"}
	if i.key != "" {
		args = append(args, "--luks-key", i.key)
	}
	var costs []cost.Cost
	for range rounds {
		out, c, err := cost.Of(exec.CommandContext(ctx, binary, args...))
		if err != nil {
			return r, err
		}
		var answer struct {
			OS struct {
				ID string `json:"id"`
			} `json:"os"`
		}
		if err := json.Unmarshal(out, &answer); err != nil {
			return r, fmt.Errorf("inspect %s: %w", i.name, err)
		}
		if answer.OS.ID != i.os {
			return r, fmt.Errorf("inspect %s: it answers %q, want %q", i.name, answer.OS.ID, i.os)
		}
		r.OS = answer.OS.ID
		costs = append(costs, c)
	}
	r.Cost = cost.Median(costs)
	return r, nil
}

// measurePeer runs virt-inspector once on the same disk: that takes a minute or
// more. Where it cannot run the result is nothing, and the error says why.
func measurePeer(ctx context.Context, i image, log *slog.Logger) (*result, error) {
	program, err := exec.LookPath("virt-inspector")
	if err != nil {
		return nil, errors.New("virt-inspector is not installed: scripts/setup --bench installs it")
	}
	c := exec.CommandContext(ctx, program, "--no-applications", "--no-icon", "--format=raw", "-a", i.path)
	dir, err := os.MkdirTemp("", "dwn-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the modules: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	accelerator, err := guestfs.Accelerator(ctx)
	if err != nil {
		return nil, err
	}
	if c.Env, err = guestfs.Env(ctx, dir, accelerator); err != nil {
		return nil, err
	}
	log.Info("inspecting with virt-inspector, once", "image", i.name)
	out, took, err := cost.Of(c)
	if err != nil {
		return nil, err
	}
	r := &result{Image: i.name + ", virt-inspector", Cost: took}
	if _, after, ok := strings.Cut(string(out), "<osinfo>"); ok {
		r.OS, _, _ = strings.Cut(after, "<")
	}
	return r, nil
}
