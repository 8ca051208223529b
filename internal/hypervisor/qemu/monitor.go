package qemu

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/qmp"
)

// monitor is the hold on a process of ours and on its QMP socket. It connects
// when it is first used, and again if the connection is lost.
type monitor struct {
	what   string // whose it is, for errors
	socket string // path
	proc   *process
	clear  func() // removes what the ended process has left, once
	end    context.Context
	finish context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{}

	// graph is held while a copy ends. QEMU 7.2 takes commands in the midst of
	// that, and crashes if one asks for the nodes: the filter of a block-stream
	// has no child then.
	graph sync.Mutex

	dialing chan struct{} // holds a token while the client is looked at
	client  *qmp.Client   // guarded by dialing; nil: not connected yet
}

// newMonitor calls remove when the process ends. Who waits for that may start a
// successor in its place at once, so remove is not called again.
func newMonitor(what, socket string, proc *process, remove func()) *monitor {
	m := &monitor{what: what, socket: socket, proc: proc, clear: sync.OnceFunc(remove), changed: make(chan struct{}), dialing: make(chan struct{}, 1)}
	m.end, m.finish = context.WithCancel(context.Background())
	m.wait.Go(func() {
		if proc.wait(m.end) {
			m.clear()
			m.notify()
		}
	})
	return m
}

// connect gives a live connection, once the monitor answers. NotFound means that
// the process has ended.
func (m *monitor) connect(ctx context.Context) (*qmp.Client, error) {
	select {
	case m.dialing <- struct{}{}:
		defer func() { <-m.dialing }()
	case <-ctx.Done():
		return nil, m.unavailable(context.Cause(ctx))
	}
	if m.client != nil && !closed(m.client.Done()) {
		return m.client, nil
	}
	c, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	m.client = c
	events, _ := c.Events() // until the connection ends
	m.wait.Go(func() { m.listen(events) })
	return c, nil
}

// redial is how long to wait before a connection that broke is tried again.
const redial = 5 * time.Millisecond

// dial connects to a process that may still be starting.
func (m *monitor) dial(ctx context.Context) (*qmp.Client, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-m.proc.done:
		case <-m.end.Done():
		case <-stop:
		}
		cancel()
	}()
	for {
		c, err := qmp.Dial(ctx, m.socket)
		if err == nil {
			return c, nil
		}
		select {
		case <-time.After(redial):
		case <-ctx.Done():
			if m.proc.ended() {
				return nil, m.gone()
			}
			return nil, err
		}
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (m *monitor) gone() error {
	return droveway.Errorf(droveway.NotFound, "%s runs here no more", m.what)
}

func (m *monitor) unavailable(err error) error {
	return droveway.Errorf(droveway.Unavailable, "%s: %w", m.what, err)
}

// execute gives a command. NotFound means that the process has ended.
func (m *monitor) execute(ctx context.Context, cmd string, args, result any) error {
	c, err := m.connect(ctx)
	if err != nil {
		return err
	}
	err = c.Execute(ctx, cmd, args, result)
	if err != nil && !qmp.Refused(err) && ctx.Err() == nil && m.ending() {
		return m.gone()
	}
	return err
}

// ending reports whether a process that has closed its monitor ends. It takes a
// moment between the two.
func (m *monitor) ending() bool {
	ctx, cancel := context.WithTimeout(m.end, 2*time.Second)
	defer cancel()
	return m.proc.wait(ctx)
}

// listen turns events into changes.
func (m *monitor) listen(events <-chan qmp.Event) {
	for e := range events {
		if telling(e.Name) {
			m.notify()
		}
	}
	m.notify()
}

// telling reports whether an event can mean another state or progress.
func telling(event string) bool {
	switch event {
	case "STOP", "RESUME", "SHUTDOWN", "RESET", "MIGRATION", "MIGRATION_PASS", "BLOCK_IO_ERROR", "JOB_STATUS_CHANGE", "BLOCK_EXPORT_DELETED":
		return true
	}
	return strings.HasPrefix(event, "BLOCK_JOB_")
}

func (m *monitor) notify() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Changed is closed at the next change.
func (m *monitor) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// lookAgain is how often a condition is looked at that no event may tell of.
const lookAgain = 20 * time.Millisecond

// until waits for a condition, looked at again at each change.
func (m *monitor) until(ctx context.Context, met func() (bool, error)) error {
	for {
		changed := m.Changed()
		ok, err := met()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return m.unavailable(context.Cause(ctx))
		}
	}
}

// PID is the process's.
func (m *monitor) PID() int { return m.proc.id.PID }

// Close lets go of the process, which runs on.
func (m *monitor) Close() error {
	m.finish()
	m.dialing <- struct{}{}
	if m.client != nil {
		_ = m.client.Close() // whatever it says, the connection is gone
	}
	<-m.dialing
	m.wait.Wait()
	m.proc.release()
	return nil
}

// quit makes the process end by itself, with its disks flushed; false: it did
// not within ctx.
func (m *monitor) quit(ctx context.Context) bool {
	_ = m.execute(ctx, "quit", nil, nil) // the answer may be lost with the process
	return m.proc.wait(ctx)
}

// blockNode is what query-named-block-nodes says of one node (BlockDeviceInfo in
// qapi/block-core.json).
type blockNode struct {
	Name    string `json:"node-name"`
	Backing string `json:"backing_file"`
	Image   struct {
		Size int64 `json:"virtual-size"`
	} `json:"image"`
}

// blockNodes asks for all block nodes, and never while a copy ends.
func (m *monitor) blockNodes(ctx context.Context) ([]blockNode, error) {
	m.graph.Lock()
	defer m.graph.Unlock()
	var all []blockNode
	err := m.execute(ctx, "query-named-block-nodes", object{"flat": true}, &all)
	return all, err
}

// nodes gives the names of all block nodes.
func (m *monitor) nodes(ctx context.Context) ([]string, error) {
	all, err := m.blockNodes(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names, nil
}
