// Package verdict is how a benchmark ends: its figures in a file and on the
// terminal, held against what must be reached, and an exit code that says so.
package verdict

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/droveway/droveway"
)

// Exit codes beside 0.
const (
	failed = 1
	missed = 3
)

// Main runs a benchmark until it ends or a signal comes, and ends the program: with
// 1 if it failed, and with 3 if all was measured and a bar was missed.
func Main(name string, run func(context.Context) (met bool, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	met, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	os.Exit(code(met, err))
}

func code(met bool, err error) int {
	switch {
	case err != nil:
		return failed
	case !met:
		return missed
	}
	return 0
}

// NeedRoot refuses whoever is not root; why is what needs it.
func NeedRoot(why string) error {
	if os.Geteuid() != 0 {
		return droveway.Errorf(droveway.Permission, "the benchmark %s and needs root: run it with sudo", why)
	}
	return nil
}

// AtLeastOne refuses a flag that says how often, if that is never: what was not measured
// has no median, and no bar that it could miss.
func AtLeastOne(flag string, n int) error {
	if n < 1 {
		return droveway.Errorf(droveway.Invalid, "-%s %d: give 1 or more", flag, n)
	}
	return nil
}

// Bar is something that must be reached.
type Bar struct {
	Name string  `json:"name"`
	Got  float64 `json:"got"`
	Side Side    `json:"side"`
	Want float64 `json:"want"`
	Unit string  `json:"unit,omitempty"`
	Met  bool    `json:"met"`
}

// Side is on which side of what is wanted a figure has to be.
type Side string

// The sides.
const (
	AtMost  Side = "at most"
	AtLeast Side = "at least"
	Below   Side = "below"
)

// NewBar holds a figure against what is wanted.
func NewBar(name string, got float64, side Side, want float64, unit string) Bar {
	b := Bar{Name: name, Got: got, Side: side, Want: want, Unit: unit}
	switch side {
	case AtMost:
		b.Met = got <= want
	case AtLeast:
		b.Met = got >= want
	case Below:
		b.Met = got < want
	}
	return b
}

// If has a bar count as missed unless something else holds, too: cheap is no merit
// of what does not do its work.
func (b Bar) If(holds bool) Bar {
	b.Met = b.Met && holds
	return b
}

// Met reports whether all bars were reached. What has no bars was not measured.
func Met(bars []Bar) bool {
	return len(bars) > 0 && !slices.ContainsFunc(bars, func(b Bar) bool { return !b.Met })
}

// Print tells a person the figures, which rows writes with a tab between two
// columns, and then the bars.
func Print(w io.Writer, bars []Bar, rows func(io.Writer)) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(t)
	fmt.Fprintln(t)
	for _, b := range bars {
		word := "pass"
		if !b.Met {
			word = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s\n", b.Name, amount(b.Got, b.Unit), b.Side, amount(b.Want, b.Unit), word)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}

func amount(n float64, unit string) string {
	if unit == "" {
		return fmt.Sprintf("%.5g", n)
	}
	return fmt.Sprintf("%.5g %s", n, unit)
}

// Write leaves figures as JSON in a directory, which it makes if need be.
func Write(dir, name string, figures any) error {
	text, err := json.MarshalIndent(figures, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
