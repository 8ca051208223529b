package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/cost"
)

const (
	serverStart = time.Minute
	serverEnd   = 30 * time.Second
	lookEvery   = 50 * time.Millisecond
)

// byDroveway imports the disk with a server of its own. The server counts with all it
// does from its start to its end, the wall time from the command to its answer.
func (w *workshop) byDroveway(ctx context.Context, dir string, check bool) (c conversion, err error) {
	s, err := w.serve(ctx, filepath.Join(dir, "server"))
	if err != nil {
		return c, err
	}
	how := "none"
	if check {
		how = "auto"
	}
	cmd := exec.CommandContext(ctx, w.binary, "image", "import", "bench", w.source, "--check", how, "--context", s.context, "-o", "json")
	var said bytes.Buffer // how far it is, and notes
	cmd.Stderr = &said
	out, took, err := cost.Of(cmd)
	served, ended := s.end()
	if err = errors.Join(err, ended); err != nil {
		return c, fmt.Errorf("%w: %s\nthe server said: %s", err, said.String(), s.log.String())
	}
	served.WallMS = 0
	c = conversion{disk: filepath.Join(dir, "server", "images", "bench"), Cost: took.Plus(served)}
	if c.Answer, err = ownAnswer(out); err != nil {
		err = fmt.Errorf("%w\nthe command said: %s", err, said.String())
	}
	return c, err
}

// ownAnswer sums up the image that an import has made.
func ownAnswer(out []byte) (string, error) {
	var i droveway.Image
	if err := json.Unmarshal(out, &i); err != nil {
		return "", fmt.Errorf("the import answers no image: %w: %s", err, out)
	}
	if i.System == nil || len(i.Changes) == 0 {
		return "", fmt.Errorf("the import has not repaired the image: %s", out)
	}
	answer := fmt.Sprintf("%s, %d files changed", i.System.ID, len(i.Changes))
	if i.Boot != nil {
		answer += ", boot " + string(i.Boot.Verdict) + ": " + i.Boot.Reason
	}
	return answer, nil
}

// server is a control plane that runs for one import.
type server struct {
	cmd     *exec.Cmd
	context string
	log     bytes.Buffer
	done    chan error
	began   time.Time
}

func (w *workshop) serve(ctx context.Context, data string) (*server, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s := &server{context: filepath.Join(data, "admin.json"), done: make(chan error, 1), began: time.Now()}
	s.cmd = exec.CommandContext(ctx, w.binary, "server", "--data", data, "--advertise", "127.0.0.1", "--appliance-kernel", w.kernel,
		"--listen", ports[0], "--bus-listen", ports[1], "--nbd-listen", ports[2])
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = serverEnd
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a server: %w", err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	if err := s.ready(ctx, ports[0]); err != nil {
		_, ended := s.end()
		return nil, fmt.Errorf("%w: %s", errors.Join(err, ended), s.log.String())
	}
	return s, nil
}

// ready waits until the server takes connections.
func (s *server) ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, serverStart)
	defer cancel()
	for {
		if _, err := os.Stat(s.context); err == nil {
			if conn, err := net.Dial("tcp", address); err == nil {
				return conn.Close()
			}
		}
		select {
		case err := <-s.done:
			s.done <- err
			return fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the server takes no connections: %w", context.Cause(ctx))
		case <-time.After(lookEvery):
		}
	}
}

// end stops the server and tells what it took.
func (s *server) end() (cost.Cost, error) {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-s.done:
		took, costs := cost.Ended(s.cmd.ProcessState, time.Since(s.began))
		return took, errors.Join(err, costs)
	case <-time.After(serverEnd):
		_ = s.cmd.Process.Kill()
		return cost.Cost{}, errors.Join(errors.New("the server does not end"), <-s.done)
	}
}

// freePorts gives addresses that nobody listens on.
func freePorts(n int) (free []string, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer ln.Close() // at the end of all, so that each is another one
		free = append(free, ln.Addr().String())
	}
	return free, nil
}
