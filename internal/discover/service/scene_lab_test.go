//go:build lab

package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

const (
	serverAddress = "203.0.113.9"
	patience      = time.Minute
)

// scene is a server and probes as real processes, in a network that translates
// addresses.
type scene struct {
	*probetest.Network
	t      *testing.T
	dir    string
	binary string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/droveway")
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{probetest.New(t), t, t.TempDir(), binary}
	s.Run("core", "", "ip", "address", "add", serverAddress+"/24", "dev", "lan")
	return s
}

// role runs a role in a namespace until the returned function is called.
func (s *scene) role(namespace, log string, env []string, args ...string) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := s.Command(ctx, namespace, append([]string{s.binary}, args...)...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.Env = append(os.Environ(), env...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) }
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		_ = c.Wait() // of a signal
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", log, out.String())
		}
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *scene) server() (stop func()) {
	s.t.Helper()
	stop = s.role("core", "server", nil, "server", "--data", filepath.Join(s.dir, "server"),
		"--listen", serverAddress+":7443", "--bus-listen", serverAddress+":7422")
	s.await("the server answers", func() bool { return s.try(nil, "probe", "ls") == nil })
	return stop
}

func (s *scene) probe(host, site string, more ...string) (stop func()) {
	s.t.Helper()
	var token client.Token
	s.ask(&token, "token", "create", "--role", "probe")
	args := append([]string{
		"probe", "--data", filepath.Join(s.dir, host), "--server", "https://" + serverAddress + ":7443",
		"--ca", filepath.Join(s.dir, "server/pki/ca-cert.pem"), "--name", host, "--site", site, "--own-namespace",
	}, more...)
	return s.role(host, host, []string{"DROVEWAY_TOKEN=" + token.Token}, args...)
}

// text runs the command line and gives what it prints.
func (s *scene) text(args ...string) (string, error) {
	c := s.Command(context.Background(), "core", append([]string{s.binary}, args...)...)
	c.Env = append(os.Environ(), "DROVEWAY_CONTEXT="+filepath.Join(s.dir, "server/admin.json"))
	out, err := c.Output()
	if e, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("droveway %s: %w: %s", strings.Join(args, " "), err, e.Stderr)
	}
	return string(out), err
}

func (s *scene) try(into any, args ...string) error {
	out, err := s.text(append(args, "-o", "json")...)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

func (s *scene) ask(into any, args ...string) {
	s.t.Helper()
	if err := s.try(into, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) await(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

// edges gives who talks to whom, as client>server:port evidence.
func (s *scene) edges() []string {
	s.t.Helper()
	var all []client.Relation
	s.ask(&all, "relation", "ls", "--internal")
	found := map[string]bool{}
	for _, r := range all {
		found[fmt.Sprintf("%s>%s:%d %s", r.Client.Host, r.Server.Host, r.Port, r.Evidence[0].Kind)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// watching reports whether so many probes see connections, and lose none.
func (s *scene) watching(number int) bool {
	var all []client.Probe
	s.ask(&all, "probe", "ls")
	for _, p := range all {
		if p.Source == "" || p.Last.IsZero() || p.Lost > 0 {
			return false
		}
	}
	return len(all) == number
}

// checkAnswers asks what people ask.
func (s *scene) checkAnswers() {
	s.t.Helper()
	var yes, no client.Explanation
	s.ask(&yes, "relation", "explain", "a2", "b1")
	if yes.Absent || len(yes.Edges) != 1 || yes.Edges[0].Paths[0].Seen.String() != "203.0.113.1" {
		s.t.Errorf("a2 and b1: %+v", yes)
	}
	for _, pair := range [][2]string{{"a2", "b2"}, {"a1", "a2"}, {"c1", "b2"}, {"b1", "b2"}} {
		s.ask(&no, "relation", "explain", pair[0], pair[1])
		if !no.Absent || !no.Exact {
			s.t.Errorf("%s: %+v", pair, no)
		}
	}
	var hit []client.Impact
	s.ask(&hit, "relation", "blast", "b2")
	if len(hit) != 1 || hit[0].Host != "a1" {
		s.t.Errorf("whom b2 hurts: %+v", hit)
	}
	for format, has := range map[string]string{"mermaid": "flowchart", "dot": "digraph", "csv": "client_service", "table": "203.0.113.1"} {
		if out, err := s.text("relation", "ls", "-o", format); err != nil || !strings.Contains(out, has) {
			s.t.Errorf("%s: %v\n%s", format, err, out)
		}
	}
	for _, args := range [][]string{{"relation", "waves", "--hosts", "6"}, {"relation", "apps"}, {"relation", "show", "b1"}, {"relation", "plan"}} {
		if out, err := s.text(args...); err != nil {
			s.t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
}
