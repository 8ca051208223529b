package bus_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
)

// until runs something until the test ends.
func until(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// again repeats what needs a listener that may not be there yet.
func again(t *testing.T, do func() error) error {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := do()
		if !droveway.Is(err, droveway.Unavailable) || time.Now().After(end) {
			return err
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c, p := b.Conn(t), b.Probe(t, "a")
	ctx := within(t, 15*time.Second)
	until(t, func(ctx context.Context) error {
		return c.Reports(ctx, func(host string, report []byte) error {
			if host != "a" {
				t.Errorf("a report of %s", host)
			}
			if string(report) == "bad" {
				return droveway.Errorf(droveway.Invalid, "that is bad")
			}
			return nil
		})
	})
	if err := again(t, func() error { return p.Report(ctx, "a", []byte("good")) }); err != nil {
		t.Error(err)
	}
	if err := p.Report(ctx, "a", []byte("bad")); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
	if err := c.Order(ctx, "a", 1); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("nobody takes orders: %v", err)
	}
	until(t, func(ctx context.Context) error {
		return p.Orders(ctx, "a", func(order json.RawMessage) error {
			if string(order) != "1" {
				return droveway.Errorf(droveway.Permission, "not that")
			}
			return nil
		})
	})
	if err := again(t, func() error { return c.Order(ctx, "a", 1) }); err != nil {
		t.Error(err)
	}
	if err := c.Order(ctx, "a", 2); !droveway.Is(err, droveway.Permission) {
		t.Errorf("%v, want permission", err)
	}
}

// A fleet that sends full spools after an outage does not fill the server's memory:
// what does not fit is not acknowledged, and who sends it again is heard.
func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c, p := b.Conn(t), b.Probe(t, "a")
	const size, sent = 900 << 10, 150
	busy, free, taken := make(chan struct{}, 1), make(chan struct{}), 0
	until(t, func(ctx context.Context) error {
		return c.Reports(ctx, func(_ string, report []byte) error {
			if len(report) < size {
				return nil
			}
			taken += len(report)
			select {
			case busy <- struct{}{}:
			default:
			}
			<-free
			return nil
		})
	})
	report := func(what string) error {
		ctx := within(t, 15*time.Second)
		return again(t, func() error { return p.Report(ctx, "a", []byte(what)) })
	}
	if err := report("somebody listens"); err != nil {
		t.Fatal(err)
	}
	before := c.NC.Stats().InMsgs
	large := make([]byte, size)
	for range sent {
		if err := p.NC.Publish("probe.a.report", large); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	<-busy
	for ctx := within(t, 15*time.Second); c.NC.Stats().InMsgs < before+sent; time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			close(free)
			t.Fatalf("%d of %d reports have arrived", c.NC.Stats().InMsgs-before, sent)
		}
	}
	close(free)
	if err := report("again"); err != nil {
		t.Fatal(err)
	}
	if taken < 50<<20 || taken > 70<<20 {
		t.Errorf("%d MiB of %d were kept", taken>>20, sent*size>>20)
	}
}

// The probe of host a reports about a and takes orders for it, and can do nothing
// else: not even what the host itself may.
func TestProbePermissions(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for _, subject := range []string{
		"probe.b.report", "probe.a.order", "probe.b.order", "cmd.a.stop", "event.host.a.machine.running",
		"$KV.observed.a.host", "$KV.leases.host.a", "$KV.relations.edge.x", "$JS.API.STREAM.DELETE.KV_relations", "_INBOX_a.x",
	} {
		t.Run("no writing to "+subject, func(t *testing.T) {
			t.Parallel()
			refused(t, b.Probe(t, "a"), func(nc *nats.Conn) error { return nc.Publish(subject, []byte("{}")) })
		})
	}
	for _, subject := range []string{
		"probe.*.report", "probe.a.report", "probe.b.order", "probe.>", "cmd.a.>", "event.>", "$KV.>", "_INBOX_a.>", "_INBOX_probe_b.>", "_INBOX.>", ">",
	} {
		t.Run("no listening to "+subject, func(t *testing.T) {
			t.Parallel()
			refused(t, b.Probe(t, "a"), func(nc *nats.Conn) error {
				_, err := nc.Subscribe(subject, func(*nats.Msg) { t.Error("heard something") })
				return err
			})
		})
	}
}

func TestProbeCredentials(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for _, c := range [][2]string{{"a.b", "x"}, {"*", "x"}, {"a", "x"}, {"", ""}} {
		if _, err := b.ProbeCredentials(c[0], c[1]); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%q: %v, want invalid", c, err)
		}
	}
}
