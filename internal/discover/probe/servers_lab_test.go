//go:build lab

package probe

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/pattern"
	"github.com/droveway/droveway/internal/discover/probe/netns"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// Where the servers of Debian's packages listen.
const (
	nginxAt    = probetest.Outside + "8088"
	redisAt    = probetest.Outside + "6379"
	postgresAt = probetest.Outside + "5432"
)

// servers are real ones, in the namespace of rb.
type servers struct {
	t    *testing.T
	n    *probetest.Network
	dir  string
	from int // a process in whose namespace they are asked
}

func newServers(t *testing.T, n *probetest.Network, from int) *servers {
	s := &servers{t, n, t.TempDir(), from}
	if err := os.Chmod(filepath.Dir(s.dir), 0o711); err != nil { // another user goes through
		t.Fatal(err)
	}
	s.nginx()
	s.redis()
	s.postgres()
	return s
}

// run starts a server, and waits until something answers.
func (s *servers) run(at string, args ...string) {
	s.t.Helper()
	log, err := os.Create(s.log(at))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { log.Close() })
	s.n.Program("rb", log, args...)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		c, err := s.dial(at)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s does not answer: %v\n%s", args, err, s.said(at))
		}
	}
}

func (s *servers) log(at string) string { return filepath.Join(s.dir, at) }

// said is what a server has logged.
func (s *servers) said(at string) string {
	b, err := os.ReadFile(s.log(at))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *servers) nginx() {
	conf := filepath.Join(s.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr notice;
events { }
http { access_log /dev/stderr;
	server { listen %[2]s; location = /status { stub_status; access_log off; } }
}
`, s.dir, nginxAt)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.run(nginxAt, "nginx", "-c", conf, "-p", s.dir)
}

func (s *servers) redis() {
	at := netip.MustParseAddrPort(redisAt)
	s.run(redisAt, "redis-server", "--bind", at.Addr().String(), "--port", strconv.Itoa(int(at.Port())),
		"--protected-mode", "no", "--save", "", "--dir", s.dir, "--loglevel", "verbose")
}

// postgres refuses to run as root.
func (s *servers) postgres() {
	u, err := user.Lookup("postgres")
	if err != nil {
		s.t.Fatalf("%v: run scripts/setup", err)
	}
	data := filepath.Join(s.dir, "postgres")
	uid, _ := strconv.Atoi(u.Uid) // the system's own table
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Mkdir(data, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(data, uid, gid); err != nil {
		s.t.Fatal(err)
	}
	s.n.Run("rb", "", s.asPostgres("initdb", "--no-sync", "--auth", "trust", "-D", data)...)
	at := netip.MustParseAddrPort(postgresAt)
	s.run(postgresAt, s.asPostgres("postgres", "-D", data, "-k", data, "-F",
		"-h", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())))...)
}

func (s *servers) asPostgres(program string, args ...string) []string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil || len(found) == 0 {
		s.t.Fatalf("there is no %s: run scripts/setup", program)
	}
	return append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", found[0]}, args...)
}

func (s *servers) dial(at string) (c net.Conn, err error) {
	inside := netns.Inside(procRoot, s.from, func() error {
		c, err = net.DialTimeout("tcp", at, time.Second)
		return nil
	})
	if inside != nil {
		s.t.Fatal(inside)
	}
	return c, err
}

// ask sends a request and gives the answer.
func (s *servers) ask(at, request string) string {
	s.t.Helper()
	c, err := s.dial(at)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// counters are what the servers count of connections.
func (s *servers) counters() map[string]int {
	s.t.Helper()
	count := map[string]int{}
	status := strings.Fields(s.ask(nginxAt, "GET /status HTTP/1.0\r\n\r\n"))
	for i, w := range status {
		if w == "requests" { // accepts, handled and requests follow
			count["nginx accepted"], count["nginx not handled"] = s.number(status[i+1]), s.number(status[i+1])-s.number(status[i+2])
		}
	}
	for _, line := range strings.Fields(s.ask(redisAt, "INFO stats\r\nQUIT\r\n")) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "total_connections_received", "rejected_connections", "total_error_replies":
			count["redis "+name] = s.number(value)
		}
	}
	const query = "select sum(sessions_abandoned + sessions_fatal + sessions_killed + xact_rollback) from pg_stat_database"
	count["postgres"] = s.number(strings.TrimSpace(s.n.Run("rb", "", s.asPostgres("psql", "-h", filepath.Join(s.dir, "postgres"), "-Atc", query)...)))
	return count
}

func (s *servers) number(text string) int {
	s.t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// SYSTEMS 3.9: whole patterns toward nginx, PostgreSQL and Redis as Debian ships
// them leave nothing in their logs and move no counter of errors.
func TestPatternsDoNoHarm(t *testing.T) {
	n := probetest.New(t)
	c := n.Client("a1")
	real := newServers(t, n, c.PID)
	p, s, _ := begin(t, Config{Patterns: true})
	before := real.counters()
	logged := map[string]string{}
	targets := []string{nginxAt, redisAt, postgresAt}
	for i, at := range targets {
		logged[at] = real.said(at)
		p.knows(at)
		a := plan(c, at, 0)
		a.Pattern = at
		a.Delays, a.Holds = pattern.Encode(0xdead0000 + uint32(i)).Timing()
		if err := p.Assign(a); err != nil {
			t.Fatal(err)
		}
	}
	s.until("all patterns", func() bool { return len(s.emitted) == len(targets)*pattern.Length })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.emitted {
		if e.Error != "" {
			t.Errorf("%+v", e)
		}
	}
	real.unharmed(before, logged)
}

// unharmed compares with before the patterns. To ask is a connection, too.
func (s *servers) unharmed(before map[string]int, logged map[string]string) {
	s.t.Helper()
	for name, n := range s.counters() {
		want := before[name]
		if name == "nginx accepted" || name == "redis total_connections_received" {
			want += pattern.Length + 1
		}
		if n != want {
			s.t.Errorf("%s: %d, before %d", name, n, before[name])
		}
	}
	for at, text := range logged {
		for _, line := range strings.Split(strings.TrimPrefix(s.said(at), text), "\n") {
			// Redis tells of each connection at this level; of errors too.
			if line != "" && !strings.Contains(line, "Accepted ") && !strings.Contains(line, "Client closed connection") && !strings.Contains(line, "clients connected") {
				s.t.Errorf("%s logged: %s", at, line)
			}
		}
	}
}
