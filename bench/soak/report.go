package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/verdict"
)

// result is out/soak.json.
type result struct {
	Counts       map[string]int `json:"counts"`
	Acknowledged uint64         `json:"acknowledged"`
	Lost         uint64         `json:"lost"`
	Wrong        uint64         `json:"wrong"` // that guests read back, or pages of their memory
	Error        string         `json:"error,omitempty"`
}

// report reads all disks and writes what was found.
func (p *party) report(ctx context.Context, out string, failure error) error {
	r := result{Counts: p.counts}
	var errs []error
	if failure != nil {
		r.Error = failure.Error()
		errs = append(errs, failure)
	}
	ctx = context.WithoutCancel(ctx)
	for _, g := range p.guests {
		found, err := g.Check(ctx)
		errs = append(errs, err, g.Close())
		r.Acknowledged, r.Lost = r.Acknowledged+found.Acknowledged, r.Lost+found.Lost
		r.Wrong += g.Observer.Summary().Wrong()
	}
	if r.Lost > 0 || r.Wrong > 0 {
		errs = append(errs, droveway.Errorf(droveway.Internal, "%d records lost, %d wrong", r.Lost, r.Wrong))
	}
	fmt.Printf("%s\nacknowledged %d, lost %d, wrong %d\n", strings.Join(p.sorted(), "\n"), r.Acknowledged, r.Lost, r.Wrong)
	return errors.Join(append(errs, verdict.Write(out, "soak.json", r))...)
}
