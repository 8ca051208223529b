package probe

import (
	"context"
	"log/slog"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/probe/spool"
)

// Sender hands a report, the JSON of a discover.Report, to the server. Nil: the
// server has it for good. An Invalid or Permission error means that it will never
// take this one; after any other it is sent again.
type Sender interface {
	Send(ctx context.Context, report []byte) error
}

const (
	sendTime     = 10 * time.Second
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 30 * time.Second
)

// outbox sends what is in the spool, oldest first, each until it has arrived: at
// least once.
type outbox struct {
	spool  *spool.Spool
	sender Sender
	log    *slog.Logger
}

func (o *outbox) run(ctx context.Context) error {
	wait := firstBackoff
	for ctx.Err() == nil {
		err := o.flush(ctx)
		if err == nil {
			wait = firstBackoff
			select {
			case <-ctx.Done():
			case <-o.spool.Ready():
			}
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		n, bytes := o.spool.Waiting()
		o.log.Warn("the server takes no reports: they wait on disk", "error", err, "reports", n, "bytes", bytes, "again", wait)
		pause(ctx, wait)
		wait = min(2*wait, lastBackoff)
	}
	return nil
}

// flush sends until the spool is empty.
func (o *outbox) flush(ctx context.Context) error {
	for {
		number, report, err := o.spool.Oldest()
		if droveway.Is(err, droveway.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := o.send(ctx, report); err != nil {
			return err
		}
		if err := o.spool.Done(number); err != nil {
			return err
		}
	}
}

func (o *outbox) send(ctx context.Context, report []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err := o.sender.Send(ctx, report)
	if droveway.Is(err, droveway.Invalid) || droveway.Is(err, droveway.Permission) {
		o.log.Error("the server refuses a report: it is dropped", "error", err, "bytes", len(report))
		return nil
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
