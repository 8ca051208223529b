// Package cost measures what a program takes, with all that it starts and waits for:
// time, CPU, and the memory of the largest of its processes.
package cost

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway/bench/verdict"
)

// Cost is what something took. The peak is that of one process.
type Cost struct {
	WallMS  float64 `json:"wall_ms"`
	CPUMS   float64 `json:"cpu_ms"`
	PeakMiB float64 `json:"peak_mib"`
}

// Plus is what two took together that ran at the same time: of the times that which is
// longer.
func (c Cost) Plus(d Cost) Cost {
	return Cost{max(c.WallMS, d.WallMS), c.CPUMS + d.CPUMS, max(c.PeakMiB, d.PeakMiB)}
}

// Median takes that of each figure.
func Median(costs []Cost) Cost {
	of := func(get func(Cost) float64) float64 {
		var all []float64
		for _, c := range costs {
			all = append(all, get(c))
		}
		return verdict.Quantile(all, 0.5)
	}
	return Cost{
		WallMS:  of(func(c Cost) float64 { return c.WallMS }),
		CPUMS:   of(func(c Cost) float64 { return c.CPUMS }),
		PeakMiB: of(func(c Cost) float64 { return c.PeakMiB }),
	}
}

// Of runs a program and gives what it printed, and its cost. An error has what it said
// of itself, unless the caller takes its standard error.
func Of(c *exec.Cmd) ([]byte, Cost, error) {
	var failure bytes.Buffer
	if c.Stderr == nil {
		c.Stderr = &failure
	}
	began := time.Now()
	out, err := c.Output()
	if err != nil {
		return nil, Cost{}, fmt.Errorf("%s: %w: %s", c.Path, err, strings.TrimSpace(failure.String()+"\n"+string(out)))
	}
	took, err := Ended(c.ProcessState, time.Since(began))
	return out, took, err
}

// Ended is the cost of a process that has ended.
func Ended(p *os.ProcessState, wall time.Duration) (Cost, error) {
	u, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return Cost{}, fmt.Errorf("process %d: the system does not say what it took", p.Pid())
	}
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return Cost{WallMS: MS(wall), CPUMS: MS(cpu), PeakMiB: float64(u.Maxrss) / 1024}, nil
}

// MS is a time in milliseconds.
func MS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Command runs a program whose cost does not matter and gives what it printed.
func Command(ctx context.Context, name string, args ...string) (string, error) {
	out, _, err := Of(exec.CommandContext(ctx, name, args...))
	return strings.TrimSpace(string(out)), err
}
