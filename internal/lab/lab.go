// Package lab runs a whole fleet on one Linux machine: a server and hosts as
// real processes in network namespaces, with links between them that can be
// slowed and cut, and a client's place beside them. Demo, tests and benchmarks
// use it.
//
// It needs root. It touches its own directory with the mounts in it, network
// namespaces and one link whose names begin with dwl-<id>, where id is derived
// from the directory, and the processes in those namespaces. So whatever a killed
// lab left can be found, and Down removes it.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
)

// Config says what lab to make.
type Config struct {
	Dir      string // empty or not there yet; everything of the lab is in it
	Hosts    int
	Binary   string // the droveway binary
	LinkRate int64  // bits a second that each host's link carries, each way; 0: no limit
	// Uplink puts the machine itself on the lab's network, so that a command
	// line or a browser reaches the server. One lab at a time can have it.
	Uplink    bool
	HostFlags []string // more flags of droveway host, as "--guest-user=nobody"
	DiskMiB   int64    // of a file system of its own for each host's data; 0: it is a directory
	Log       *slog.Logger
}

// cleanupTime is how long a failed Up may take to undo itself.
const cleanupTime = 30 * time.Second

// Lab is a lab that is up.
type Lab struct {
	plan plan
	log  *slog.Logger
}

// Up makes a lab and returns when the server answers and every host is ready.
// If it fails nothing is left of it but its logs' last lines in the error.
func Up(ctx context.Context, c Config) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, droveway.Errorf(droveway.Permission, "the lab makes network namespaces and needs root: run it with sudo")
	}
	p, err := newPlan(c)
	if err != nil {
		return nil, err
	}
	if err := claim(p); err != nil {
		return nil, err
	}
	l := &Lab{plan: p, log: c.Log}
	if err := l.up(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		_, left := remove(ctx, p.Dir)
		return nil, errors.Join(fmt.Errorf("lab in %s: %w", p.Dir, err), left)
	}
	return l, nil
}

func (l *Lab) up(ctx context.Context) error {
	if err := l.plan.build(); err != nil {
		return err
	}
	if err := l.mountDisks(ctx); err != nil {
		return err
	}
	if err := l.StartServer(ctx); err != nil {
		return err
	}
	if err := l.writeContext(); err != nil {
		return err
	}
	for _, h := range l.plan.Hosts {
		if err := l.StartHost(ctx, h.Name); err != nil {
			return err
		}
	}
	return l.awaitHosts(ctx)
}

// claim takes the directory for a lab and notes the plan in it, before anything
// else is made.
func claim(p plan) error {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory of the lab: %w", err)
	}
	found, err := os.ReadDir(p.Dir)
	if err != nil {
		return fmt.Errorf("read directory of the lab: %w", err)
	}
	if len(found) > 0 {
		return droveway.Errorf(droveway.Exists, "%s is not empty (%s …): take down the lab in it, or name another directory", p.Dir, found[0].Name())
	}
	return p.save()
}

// Load finds the lab in a directory.
func Load(dir string, log *slog.Logger) (*Lab, error) {
	p, err := loadPlan(dir)
	if err != nil {
		return nil, err
	}
	return &Lab{plan: p, log: log}, nil
}

// Hosts are the names of the lab's hosts.
func (l *Lab) Hosts() []string {
	names := make([]string, len(l.plan.Hosts))
	for i, h := range l.plan.Hosts {
		names[i] = h.Name
	}
	return names
}

// ClientAddress is where the client is in the network between hosts.
func (l *Lab) ClientAddress() netip.Addr { return clientMember.Address }

// ContextFile is what the command line needs to reach the server.
func (l *Lab) ContextFile() string { return l.plan.path("context.json") }

// LogFile is the log of a role: "server", or a host's name.
func (l *Lab) LogFile(role string) string { return logFile(l.plan.Dir, role) }

// Dir is a role's data directory.
func (l *Lab) Dir(role string) string { return l.plan.path(role) }

func logFile(dir, role string) string { return filepath.Join(dir, "logs", role+".log") }

// writeContext gives the command line the file that the server wrote for it.
func (l *Lab) writeContext() error {
	b, err := os.ReadFile(l.plan.adminFile())
	if err != nil {
		return fmt.Errorf("read the server's context: %w", err)
	}
	return writeFile(l.ContextFile(), b, 0o600)
}
