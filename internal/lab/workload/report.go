package workload

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	connectTime = 2 * time.Second
	retryTime   = 200 * time.Millisecond
	// silence is how long the observer may leave a report unacknowledged, in
	// milliseconds, before the guest connects anew.
	silence = 5000
)

// report tells the observer the newest report, again and again on one connection
// after the other, until ctx ends.
func report(ctx context.Context, observer string, n *news, log *slog.Logger) {
	if observer == "" {
		return
	}
	for ctx.Err() == nil {
		err := reportOn(ctx, observer, n)
		if ctx.Err() == nil {
			log.Info("no connection to the observer", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryTime):
		}
	}
}

func reportOn(ctx context.Context, observer string, n *news) error {
	d := net.Dialer{Timeout: connectTime, Control: impatient}
	conn, err := d.DialContext(ctx, "tcp", observer)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for out := json.NewEncoder(conn); ; {
		if r := n.newest(); r.First > 0 || r.Error != "" {
			if err := out.Encode(r); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.fresh:
		}
	}
}

func impatient(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, silence)
	})
	if err != nil {
		return err
	}
	return failed
}
