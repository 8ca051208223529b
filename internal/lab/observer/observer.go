// Package observer stands outside and takes down what guests report as durable.
// Nothing a guest or a host does later changes what was noted here: it is what
// the disks are held against.
package observer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/lab/record"
)

// maxLine bounds a report; guests are not trusted to end their lines.
const maxLine = 64 << 10

// Note is a report with the time at which it came, by the observer's clock.
type Note struct {
	record.Report
	At time.Time `json:"at"`
}

// Observer notes the reports of one guest.
type Observer struct {
	journal io.Writer
	log     *slog.Logger

	mu   sync.Mutex
	runs []Note        // the newest report of each run, in the order of their first
	more chan struct{} // closed at the next report
	conn map[net.Conn]bool
	fail error
}

// New makes an Observer. It writes every Note to the journal as a line of JSON;
// nil: none.
func New(journal io.Writer, log *slog.Logger) *Observer {
	if journal == nil {
		journal = io.Discard
	}
	return &Observer{journal: journal, log: log, more: make(chan struct{}), conn: map[net.Conn]bool{}}
}

// Run takes reports from a listener, which it closes, until ctx ends.
func (o *Observer) Run(ctx context.Context, ln net.Listener) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer o.hangUp()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("observer: %w", err)
		}
		o.track(conn, true)
		wait.Go(func() {
			defer o.track(conn, false)
			defer conn.Close()
			if err := o.listen(conn); err != nil {
				o.log.Debug("a guest's connection ended", "error", err)
			}
		})
		// A guest that was accepted while ctx ended is hung up on, too.
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (o *Observer) track(conn net.Conn, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if open {
		o.conn[conn] = true
	} else {
		delete(o.conn, conn)
	}
}

func (o *Observer) hangUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for conn := range o.conn {
		conn.Close()
	}
}

func (o *Observer) listen(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var n Note
		if err := json.Unmarshal(lines.Bytes(), &n.Report); err != nil {
			return fmt.Errorf("report %q: %w", lines.Text(), err)
		}
		n.At = time.Now()
		o.note(n)
	}
	return lines.Err()
}

func (o *Observer) note(n Note) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.runs, func(r Note) bool { return r.Run == n.Run })
	switch {
	case i < 0:
		o.runs = append(o.runs, n)
	case o.runs[i].Durable > n.Durable:
		return // an old connection's last words
	default:
		o.runs[i] = n
	}
	line, err := json.Marshal(n)
	if err == nil {
		_, err = o.journal.Write(append(line, '\n'))
	}
	o.fail = errors.Join(o.fail, err)
	close(o.more)
	o.more = make(chan struct{})
}

// Err tells whether the journal could not be written.
func (o *Observer) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fail
}

// Summary is what is known so far.
func (o *Observer) Summary() Summary {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Summary{Runs: slices.Clone(o.runs)}
}

// Wait returns the first Summary that ok accepts.
func (o *Observer) Wait(ctx context.Context, ok func(Summary) bool) (Summary, error) {
	for {
		o.mu.Lock()
		s, more := Summary{Runs: slices.Clone(o.runs)}, o.more
		o.mu.Unlock()
		if ok(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("observer: %w; %s", ctx.Err(), s)
		case <-more:
		}
	}
}
