package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/internal/image/convert"
	"github.com/droveway/droveway/internal/image/format"
)

// The ways of a VMDK into qcow2.
const (
	wayOwn  = "droveway"
	wayQEMU = "qemu-img convert"
)

// rewrites is how often each way has its turn: one takes seconds.
const rewrites = 5

// subformats are those in which VMware keeps a disk, and hands it on in an OVA.
func subformats() []string { return []string{"monolithicSparse", "streamOptimized"} }

// rewriting is one conversion of one way.
type rewriting struct {
	From  string `json:"from"`
	Way   string `json:"way"`
	Round int    `json:"round"`
	cost.Cost
}

// rewritings converts the disk from what VMware has it in, in turns. Both ways are
// programs of their own, and have flushed the file when they end.
func (o options) rewritings(ctx context.Context, dir string, r *report) error {
	source, err := cost.Command(ctx, "scripts/build-debian-image", "--foreign")
	if err != nil {
		return err
	}
	for _, subformat := range subformats() {
		vmdk := filepath.Join(dir, subformat+".vmdk")
		if _, err := cost.Command(ctx, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+subformat, source, vmdk); err != nil {
			return err
		}
		o.log.Info("converting into qcow2", "from", subformat)
		for round := range rewrites {
			for _, way := range []string{wayOwn, wayQEMU} {
				took, err := rewriteBy(ctx, way, vmdk, filepath.Join(dir, "rewritten.qcow2"))
				if err != nil {
					return fmt.Errorf("%s from %s: %w", way, subformat, err)
				}
				r.Rewritings = append(r.Rewritings, rewriting{subformat, way, round + 1, took})
			}
		}
		if err := os.Remove(vmdk); err != nil {
			return err
		}
	}
	return nil
}

// rewriteBy converts once, and removes what was made.
func rewriteBy(ctx context.Context, way, from, to string) (took cost.Cost, err error) {
	cmd := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "vmdk", "-O", "qcow2", "-t", "writeback", from, to)
	if way == wayOwn {
		own, err := os.Executable()
		if err != nil {
			return took, fmt.Errorf("find this program: %w", err)
		}
		cmd = exec.CommandContext(ctx, own, "-rewrite", from, "-into", to)
	}
	_, took, err = cost.Of(cmd)
	return took, errors.Join(err, os.Remove(to))
}

// rewriteOne does what an import does with a disk that is to be qcow2.
func (o options) rewriteOne(ctx context.Context) (_ bool, err error) {
	disk, err := format.Open(o.rewrite)
	if err != nil {
		return false, err
	}
	defer disk.Close()
	to, err := os.OpenFile(o.into, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("make the new file: %w", err)
	}
	return true, errors.Join(convert.ToQCOW2(ctx, to, disk, nil), to.Close())
}
