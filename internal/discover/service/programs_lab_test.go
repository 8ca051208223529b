//go:build lab

package service_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// SYSTEMS 3.2, 3.3: real programs by the names that people know them by; what the
// README shows of them is what comes out.
func TestProgramsOfTheReadme(t *testing.T) {
	s := newScene(t)
	s.server()
	for _, host := range []string{"b1", "b2"} {
		s.nginx(host)
	}
	s.program("b2", "redis-server", "--bind", "10.2.0.12", "--protected-mode", "no", "--save", "", "--dir", s.dir)
	for host, site := range map[string]string{"a1": "a", "b1": "b", "b2": "b", "c1": "c"} {
		s.probe(host, site)
	}
	s.await("all probes report", func() bool { return s.watching(4) })
	for range 2 { // the balancer takes turns
		s.bash("a1", probetest.Balanced)
	}
	s.bash("c1", probetest.Forward)
	s.Run("b1", "", "redis-cli", "-h", "10.2.0.12", "ping")

	s.agrees("$ droveway relation ls --internal", "relation", "ls", "--internal")
	s.agrees("$ droveway relation explain c1 b1", "relation", "explain", "c1", "b1")
	s.agrees("```mermaid", "relation", "ls", "--internal", "-o", "mermaid")
}

// agrees waits until the README shows below a line what a command prints, but for
// the time.
func (s *scene) agrees(line string, args ...string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		got, err := s.text(args...)
		if err != nil {
			s.t.Fatal(err)
		}
		d := cmp.Diff(withoutTimes(readme(s.t, line)), withoutTimes(got))
		if d == "" {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("droveway %s (-README +output):\n%s\nwhole:\n%s", strings.Join(args, " "), d, got)
		}
	}
}

// readme gives what the README shows below a line.
func readme(t *testing.T, line string) string {
	t.Helper()
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, found := strings.Cut(string(b), "\n"+line+"\n")
	if !found {
		t.Fatalf("the README has no line %q", line)
	}
	end := regexp.MustCompile("(?m)^(```|\\$ )").FindStringIndex(shown)
	return shown[:end[0]]
}

var (
	moment = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	blanks = regexp.MustCompile(` +`)
)

// withoutTimes leaves out what is another each time.
func withoutTimes(text string) string {
	return blanks.ReplaceAllString(moment.ReplaceAllString(text, "TIME"), " ")
}

// program runs a server in a namespace.
func (s *scene) program(namespace string, args ...string) {
	s.t.Helper()
	var out bytes.Buffer
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("output of %s:\n%s", args[0], out.String())
		}
	})
	s.Program(namespace, &out, args...)
}

func (s *scene) nginx(namespace string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "nginx-"+namespace)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("daemon off; worker_processes 1; pid %s/pid; error_log stderr;\nevents { }\nhttp { access_log off; server { listen 80; } }\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.program(namespace, "nginx", "-c", conf, "-p", dir)
}

// bash opens a connection, and stays long enough to be looked at.
func (s *scene) bash(namespace, address string) {
	s.t.Helper()
	host, port, _ := strings.Cut(address, ":")
	s.Run(namespace, "", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%s; read -t 0.3 -u 3 || true", host, port))
}
