package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// rounds is how often each image is inspected; the median counts.
const rounds = 7

// cost is what one run took, with all its children.
type cost struct {
	WallMS  float64 `json:"wall_ms"`
	CPUMS   float64 `json:"cpu_ms"`
	PeakMiB float64 `json:"peak_mib"`
}

// result is what was measured on one image.
type result struct {
	Image string `json:"image"`
	OS    string `json:"os"` // the answer
	cost
}

func measure(ctx context.Context, binary string, i image) (result, error) {
	r := result{Image: i.name}
	args := []string{"image", "inspect", i.path, "-o", "json"}
	if i.key != "" {
		args = append(args, "--luks-key", i.key)
	}
	var costs []cost
	for range rounds {
		out, c, err := timed(exec.CommandContext(ctx, binary, args...))
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
	r.cost = median(costs)
	return r, nil
}

// median takes that of each figure.
func median(costs []cost) cost {
	of := func(get func(cost) float64) float64 {
		var all []float64
		for _, c := range costs {
			all = append(all, get(c))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return cost{
		WallMS:  of(func(c cost) float64 { return c.WallMS }),
		CPUMS:   of(func(c cost) float64 { return c.CPUMS }),
		PeakMiB: of(func(c cost) float64 { return c.PeakMiB }),
	}
}

// timed runs a program and gives what it printed, and its cost with that of its
// children.
func timed(c *exec.Cmd) ([]byte, cost, error) {
	var failure bytes.Buffer
	c.Stderr = &failure
	began := time.Now()
	out, err := c.Output()
	if err != nil {
		return nil, cost{}, fmt.Errorf("%s: %w: %s", c.Path, err, strings.TrimSpace(failure.String()))
	}
	wall := time.Since(began)
	u, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil, cost{}, fmt.Errorf("%s: the system does not say what it took", c.Path)
	}
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return out, cost{WallMS: ms(wall), CPUMS: ms(cpu), PeakMiB: float64(u.Maxrss) / 1024}, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

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
	if c.Env, err = applianceEnv(ctx, dir); err != nil {
		return nil, err
	}
	log.Info("inspecting with virt-inspector, once", "image", i.name)
	out, took, err := timed(c)
	if err != nil {
		return nil, err
	}
	r := &result{Image: i.name + ", virt-inspector", cost: took}
	if _, after, ok := strings.Cut(string(out), "<osinfo>"); ok {
		r.OS, _, _ = strings.Cut(after, "<")
	}
	return r, nil
}

// applianceEnv lets libguestfs start its appliance with the lab's kernel, as this
// machine may have none to boot from. It wants a list of the modules, which an
// unpacked kernel does not have, and gets a copy with one in dir.
func applianceEnv(ctx context.Context, dir string) ([]string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	kernel := filepath.Join(cache, "droveway", "kernel")
	found, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("no kernel in %s: run scripts/setup", kernel)
	}
	version := strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")
	if _, err := command(ctx, "cp", "-a", filepath.Join(kernel, "lib"), dir); err != nil {
		return nil, err
	}
	if _, err := command(ctx, "depmod", "-b", dir, version); err != nil {
		return nil, err
	}
	return append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "SUPERMIN_KERNEL="+found[0], "SUPERMIN_KERNEL_VERSION="+version,
		"SUPERMIN_MODULES="+filepath.Join(dir, "lib", "modules", version)), nil
}
