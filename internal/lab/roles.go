package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

const (
	apiPort = "7443"
	busPort = "7422"

	// startTime bounds how long a role may take until it answers. A host probes
	// its accelerator with a real guest first.
	startTime = 60 * time.Second
	pollTime  = 20 * time.Millisecond
)

// StartServer starts the server and returns when its API takes connections.
func (l *Lab) StartServer(ctx context.Context) error {
	api := serverMember.Address.String() + ":" + apiPort
	p, err := l.plan.start(serverName, nil, "server",
		"--data", l.plan.path(serverName),
		"--listen", api,
		"--bus-listen", serverMember.Address.String()+":"+busPort)
	if err != nil {
		return err
	}
	return l.await(ctx, p, "take connections on "+api, func(ctx context.Context) bool {
		if _, err := os.Stat(l.plan.adminFile()); err != nil {
			return false
		}
		conn, err := l.Dial(ctx, l.ServerNS(), "tcp", api)
		return err == nil && conn.Close() == nil
	})
}

// guestUser lets guests run as root where the kernel lets nobody else's memory
// follow.
func guestUser() []string {
	b, err := os.ReadFile("/proc/sys/vm/unprivileged_userfaultfd")
	if err == nil && strings.TrimSpace(string(b)) == "0" {
		return []string{"--guest-user=root"}
	}
	return nil
}

// StartHost starts a host's agent, which joins the fleet the first time; flags are
// for this start alone. It does not wait until the host is ready.
func (l *Lab) StartHost(ctx context.Context, name string, flags ...string) error {
	h, err := l.plan.host(name)
	if err != nil {
		return err
	}
	args := slices.Concat([]string{
		"host", "--data", l.plan.path(name),
		"--server", "https://" + serverMember.Address.String() + ":" + apiPort,
		"--ca", filepath.Join(l.plan.path(serverName), "pki", "ca-cert.pem"),
		"--name", name,
		"--address", h.Address.String(),
		"--vxlan-peer", clientMember.Address.String(),
	}, guestUser(), l.plan.HostFlags, flags)
	var env []string
	if _, err := os.Stat(filepath.Join(l.plan.path(name), "identity")); err != nil {
		token, err := l.joinToken(ctx)
		if err != nil {
			return err
		}
		env = append(env, "DROVEWAY_TOKEN="+token)
	}
	_, err = l.plan.start(name, env, args...)
	return err
}

// Droveway runs the command line as the lab's administrator, in the client's
// namespace, and returns what it prints.
func (l *Lab) Droveway(ctx context.Context, args ...string) ([]byte, error) {
	cmd := l.Command(ctx, l.ClientNS(), l.plan.Binary, args...)
	cmd.Env = append(os.Environ(), "DROVEWAY_CONTEXT="+l.plan.adminFile())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("droveway %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

func (l *Lab) joinToken(ctx context.Context) (string, error) {
	out, err := l.Droveway(ctx, "token", "create", "--role", "host", "-o", "json")
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Token == "" {
		return "", droveway.Errorf(droveway.Internal, "token create answered without a token: %q", out)
	}
	return answer.Token, nil
}

// awaitHosts waits until the fleet calls every host ready.
func (l *Lab) awaitHosts(ctx context.Context) error {
	for _, h := range l.plan.Hosts {
		p, err := l.plan.find(h.Name)
		if err != nil {
			return err
		}
		err = l.await(ctx, p, "become ready", func(ctx context.Context) bool { return l.isReady(ctx, h.Name) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) isReady(ctx context.Context, host string) bool {
	out, err := l.Droveway(ctx, "host", "ls", "-o", "json")
	if err != nil {
		return false
	}
	var hosts []droveway.Host
	if json.Unmarshal(out, &hosts) != nil {
		return false
	}
	for _, h := range hosts {
		if h.Name == host {
			return h.Status.State == droveway.HostReady
		}
	}
	return false
}

// await polls until a role does what it should. It fails as soon as the role's
// process has ended, with the end of its log.
func (l *Lab) await(ctx context.Context, p process, what string, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for wait := pollTime; !done(ctx); wait = min(2*wait, time.Second) {
		if !p.alive() {
			return droveway.Errorf(droveway.Unavailable, "%s ended before it could %s; its log ends with:\n%s", p.Role, what, tail(l.LogFile(p.Role)))
		}
		select {
		case <-ctx.Done():
			return droveway.Errorf(droveway.Unavailable, "%s did not %s: %w; its log ends with:\n%s", p.Role, what, ctx.Err(), tail(l.LogFile(p.Role)))
		case <-time.After(wait):
		}
	}
	return nil
}

const tailBytes = 2000

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-tailBytes):])
}
