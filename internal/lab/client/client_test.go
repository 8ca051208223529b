package client

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest echoes over pipes; while it is held, nothing comes back.
type guest struct {
	held  chan struct{}
	conns []net.Conn
}

func (g *guest) dial(context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	g.conns = append(g.conns, there)
	go func() {
		var b [8]byte
		for {
			if _, err := io.ReadFull(there, b[:]); err != nil {
				return
			}
			if g.held != nil {
				<-g.held
			}
			if _, err := there.Write(b[:]); err != nil {
				return
			}
		}
	}()
	return here, nil
}

func run(t *testing.T, dial Dial) (c *Client, stop func()) {
	c = New(dial)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestSteadyAnswersHaveNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guest{}
		c, stop := run(t, g.dial)
		start := time.Now()
		time.Sleep(time.Second)
		stop()
		r := c.Between(start, time.Now())
		if r.LongestGap > Interval || r.Breaks != 0 || r.Answers < 98 || !c.Connected() {
			t.Errorf("%+v: want about 100 answers, 10 ms apart", r)
		}
	})
}

func TestLongestGapIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guest{}
		c, stop := run(t, g.dial)
		start := time.Now()
		time.Sleep(time.Second)
		g.held = make(chan struct{})
		time.Sleep(700 * time.Millisecond)
		open := c.Between(start, time.Now())
		close(g.held)
		time.Sleep(time.Second)
		stop()
		for what, r := range map[string]Result{"while it lasts": open, "afterwards": c.Between(start, time.Now())} {
			if r.LongestGap < 690*time.Millisecond || r.LongestGap > 720*time.Millisecond || r.Breaks != 0 {
				t.Errorf("%s: %+v: want a gap of 700 ms", what, r)
			}
		}
		if r := c.Between(start, start.Add(900*time.Millisecond)); r.LongestGap > Interval {
			t.Errorf("before the gap: %+v", r)
		}
		waits := c.Waits(start, time.Now())
		long := slices.DeleteFunc(slices.Clone(waits), func(d time.Duration) bool { return d <= Interval })
		if len(waits) < 190 || len(long) != 1 || long[0] < 690*time.Millisecond {
			t.Errorf("%d waits, of which %v are long: want about 200 and one of 700 ms", len(waits), long)
		}
	})
}

func TestBrokenConnectionIsNotedAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guest{}
		c, stop := run(t, g.dial)
		start := time.Now()
		time.Sleep(time.Second)
		g.conns[0].Close()
		time.Sleep(time.Second)
		stop()
		r := c.Between(start, time.Now())
		if r.Breaks != 1 || r.Cause == "" || len(g.conns) != 2 || r.LongestGap < redialTime {
			t.Errorf("%+v on %d connections: want one break, and a second connection", r, len(g.conns))
		}
	})
}

func TestNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := run(t, func(context.Context) (net.Conn, error) { return nil, errors.New("refused") })
		start := time.Now()
		time.Sleep(time.Minute)
		stop()
		if r := c.Between(start, time.Now()); c.Connected() || r.LongestGap != time.Minute {
			t.Errorf("%+v: want one gap of a minute", r)
		}
	})
}
