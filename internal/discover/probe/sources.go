package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/kernel"
	"github.com/droveway/droveway/internal/discover/probe/packet"
	"github.com/droveway/droveway/internal/discover/probe/pidns"
)

// The sources of events, best first.
const (
	SourceTyped  = string(kernel.Typed) // eBPF at a typed tracepoint
	SourceRaw    = string(kernel.Raw)   // eBPF at a raw tracepoint
	SourcePacket = "af_packet"          // copies of packets: no process is named
	SourcePoll   = "proc"               // looks at /proc: misses what is short, knows no sequence numbers
)

// Sources gives their names, best first.
func Sources() []string { return []string{SourceTyped, SourceRaw, SourcePacket, SourcePoll} }

// Choice says which source is in use, and why better ones are not.
type Choice struct {
	Source string            `json:"source"`
	Better map[string]string `json:"better,omitempty"` // why not, by source
	// Walker says why connections that were open before the probe have no
	// sequence numbers; empty: they have.
	Walker string `json:"walker,omitempty"`
}

func (c Choice) String() string {
	var parts []string
	for _, name := range Sources() {
		if why := c.Better[name]; why != "" {
			parts = append(parts, name+": "+why)
		}
	}
	if len(parts) == 0 {
		return c.Source
	}
	return fmt.Sprintf("%s (not %s)", c.Source, strings.Join(parts, "; not "))
}

// choose opens the best source that works here and is not excluded. Only is the
// name of the one to use, or empty.
func choose(only, proc string, failed map[string]string) (capture.Source, Choice, error) {
	c := Choice{Better: map[string]string{}}
	if only != "" && !slices.Contains(Sources(), only) {
		return nil, c, droveway.Errorf(droveway.Invalid, "there is no source %q: choose one of %s", only, strings.Join(Sources(), ", "))
	}
	var errs []error
	for _, name := range Sources() {
		if only != "" && only != name {
			c.Better[name] = "not asked for"
			continue
		}
		if why, did := failed[name]; did {
			c.Better[name] = why
			continue
		}
		s, err := open(name, proc)
		if err == nil {
			c.Source = name
			return s, c, nil
		}
		c.Better[name] = err.Error()
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return nil, c, droveway.Errorf(droveway.Unavailable, "no source of connections works here: %w", errors.Join(errs...))
}

func open(name, proc string) (capture.Source, error) {
	switch name {
	case SourceTyped, SourceRaw:
		numbers, err := pidns.Of(proc)
		if err != nil {
			return nil, err
		}
		return kernel.Open(kernel.Attachment(name), numbers)
	case SourcePacket:
		return packet.Open(proc)
	}
	return silent{}, nil
}

// silent is the source that tells nothing: surveys have to do.
type silent struct{}

func (silent) Run(ctx context.Context, _ func(capture.Event)) error {
	<-ctx.Done()
	return nil
}
func (silent) Lost() uint64 { return 0 }
func (silent) Close() error { return nil }
