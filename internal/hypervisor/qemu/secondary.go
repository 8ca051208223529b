package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Names of a secondary's files in its directory.
const (
	daemonMonitor = "secondary.sock"
	daemonHandle  = "secondary.json"
	daemonLog     = "secondary.log"
)

// daemon is the handle of a secondary.
type daemon struct {
	Process processID                `json:"process"`
	Spec    hypervisor.SecondarySpec `json:"spec"`
	Address string                   `json:"address"`
	User    string                   `json:"user,omitempty"`
}

func (h *daemon) encode() hypervisor.Handle {
	b, _ := json.Marshal(h) // plain data always marshals
	return b
}

func (h *daemon) file(name string) string { return filepath.Join(h.Spec.Dir, name) }

func (h *daemon) remove() {
	_ = os.Remove(h.file(daemonMonitor))
	_ = os.Remove(h.file(daemonHandle))
}

func parseDaemon(raw hypervisor.Handle) (daemon, error) {
	var h daemon
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, droveway.Errorf(droveway.Invalid, "handle %q: %w", raw, err)
	}
	if h.Process.PID <= 0 || h.Spec.Dir == "" || h.Address == "" {
		return h, droveway.Errorf(droveway.Invalid, "handle %q is none of a secondary", raw)
	}
	return h, nil
}

// Secondary is a storage daemon that serves the disks of a machine.
type Secondary struct {
	*monitor
	h daemon
}

// Secondary starts a storage daemon, or finds the one that an earlier call with
// the same spec has started.
func (d *Driver) Secondary(ctx context.Context, spec hypervisor.SecondarySpec) (hypervisor.Secondary, error) {
	s, err := d.secondary(ctx, spec)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "secondary of machine %s: %w", spec.Machine, err)
	}
	return s, nil
}

func (d *Driver) secondary(ctx context.Context, spec hypervisor.SecondarySpec) (*Secondary, error) {
	if !filepath.IsAbs(spec.Dir) {
		return nil, droveway.Errorf(droveway.Invalid, "directory %q: give an absolute path", spec.Dir)
	}
	if raw, err := os.ReadFile(filepath.Join(spec.Dir, daemonHandle)); err == nil {
		if s, err := d.attachSecondary(ctx, raw); err == nil && s.h.Spec == spec {
			return s, nil
		}
	}
	killStrays(spec.Dir, daemonMonitor)
	user, err := lookup(d.cfg.User)
	if err != nil {
		return nil, err
	}
	if err := user.own(spec.Dir); err != nil {
		return nil, err
	}
	return d.startDaemon(ctx, spec, user)
}

func (d *Driver) startDaemon(ctx context.Context, spec hypervisor.SecondarySpec, user *account) (*Secondary, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	h := daemon{Spec: spec, User: d.cfg.User}
	from := size(h.file(daemonLog))
	proc, err := spawn(program{
		path: d.cfg.StorageDaemon, dir: spec.Dir, log: h.file(daemonLog), user: user,
		args: []string{"--chardev", "socket,id=monitor,server=on,wait=off,path=" + daemonMonitor, "--monitor", "chardev=monitor"},
	})
	if err != nil {
		return nil, err
	}
	h.Process = proc.id
	s := &Secondary{h: h}
	s.monitor = newMonitor("the secondary", h.file(daemonMonitor), proc, h.remove)
	if err := s.begin(ctx, user); err != nil {
		if proc.ended() {
			err = refusal(tail(h.file(daemonLog), from), err)
		}
		s.abandon()
		return nil, err
	}
	return s, nil
}

// begin makes the daemon listen and writes its handle down.
func (s *Secondary) begin(ctx context.Context, user *account) error {
	creds, err := s.credentials(ctx, s.h.Spec.TLS, server, s.h.Spec.Dir, user)
	if err != nil {
		return err
	}
	authz := ""
	if creds != "" {
		if authz, err = s.only(ctx, s.h.Spec.Peer); err != nil {
			return err
		}
	}
	if s.h.Address, err = s.serve(ctx, creds, authz); err != nil {
		return err
	}
	return writeFile(s.h.file(daemonHandle), s.h.encode())
}

// serveTries is how many free ports are tried: one that is found free may be
// taken by the time the daemon asks for it.
const serveTries = 10

// serve starts the NBD server and returns its address. The daemon cannot tell a
// port that the kernel has chosen, so a free one is looked for here.
func (s *Secondary) serve(ctx context.Context, creds, authz string) (string, error) {
	host, port, err := net.SplitHostPort(s.h.Spec.Listen)
	if err != nil {
		return "", droveway.Errorf(droveway.Invalid, "address to listen at: %w", err)
	}
	chosen := port
	for try := 0; ; try++ {
		if port == "0" {
			if chosen, err = freePort(ctx, host); err != nil {
				return "", err
			}
		}
		args := object{"addr": object{"type": "inet", "data": object{"host": host, "port": chosen}}}
		if creds != "" {
			args["tls-creds"] = creds
		}
		if authz != "" {
			args["tls-authz"] = authz
		}
		err = s.execute(ctx, "nbd-server-start", args, nil)
		if err == nil {
			return net.JoinHostPort(host, chosen), nil
		}
		if port != "0" || try == serveTries || !strings.Contains(err.Error(), "in use") {
			return "", droveway.Errorf(droveway.Unavailable, "listen at %s: %w", net.JoinHostPort(host, chosen), err)
		}
	}
}

func freePort(ctx context.Context, host string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", droveway.Errorf(droveway.Unavailable, "find a free port on %s: %w", host, err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// abandon ends a daemon that was not started in full.
func (s *Secondary) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	_ = s.proc.kill(ctx)
	_ = s.Close()
	s.h.remove()
	_ = os.Remove(s.h.file(daemonLog))
}

// AttachSecondary finds a running storage daemon.
func (d *Driver) AttachSecondary(ctx context.Context, raw hypervisor.Handle) (hypervisor.Secondary, error) {
	s, err := d.attachSecondary(ctx, raw)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *Driver) attachSecondary(ctx context.Context, raw hypervisor.Handle) (*Secondary, error) {
	h, err := parseDaemon(raw)
	if err != nil {
		return nil, err
	}
	proc, err := adopt(h.Process)
	if err != nil {
		h.remove()
		return nil, droveway.Errorf(droveway.KindOf(err), "find the secondary of machine %s: %w", h.Spec.Machine, err)
	}
	s := &Secondary{h: h}
	s.monitor = newMonitor("the secondary", h.file(daemonMonitor), proc, h.remove)
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	if _, err := s.connect(ctx); err != nil {
		_ = s.Close()
		return nil, droveway.Errorf(droveway.KindOf(err), "find the secondary of machine %s: %w", h.Spec.Machine, err)
	}
	return s, nil
}

// Handle is what AttachSecondary takes.
func (s *Secondary) Handle() hypervisor.Handle { return s.h.encode() }

// Address is where it listens.
func (s *Secondary) Address() string { return s.h.Address }

// Alive tells whether the daemon still runs.
func (s *Secondary) Alive(context.Context) bool { return !s.proc.ended() }

// about says what was attempted.
func (s *Secondary) about(verb string, err error) error {
	if err == nil {
		return nil
	}
	return droveway.Errorf(droveway.KindOf(err), "%s the disks of machine %s: %w", verb, s.h.Spec.Machine, err)
}

// blockExport is what query-block-exports says of one export (BlockExportInfo in
// qapi/block-export.json).
type blockExport struct {
	ID   string `json:"id"`
	Node string `json:"node-name"`
}

func (s *Secondary) exports(ctx context.Context) ([]blockExport, error) {
	var all []blockExport
	err := s.execute(ctx, "query-block-exports", nil, &all)
	return all, err
}

// exportName is the id of a disk's export and of its node: the name itself may
// be too long for QEMU.
func exportName(disk string) string {
	sum := sha256.Sum256([]byte(disk))
	return "x" + hex.EncodeToString(sum[:8])
}

// Export opens disks and serves them.
func (s *Secondary) Export(ctx context.Context, disks []hypervisor.Disk) error {
	user, err := lookup(s.h.User)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if err := s.export(ctx, d, user); err != nil {
			return s.about("serve", droveway.Errorf(droveway.KindOf(err), "disk %s: %w", d.Name, err))
		}
	}
	return nil
}

func (s *Secondary) export(ctx context.Context, d hypervisor.Disk, user *account) error {
	id := exportName(d.Name)
	there, err := s.exports(ctx)
	if err != nil || slices.ContainsFunc(there, func(e blockExport) bool { return e.ID == id }) {
		return err
	}
	if err := user.own(d.Path); err != nil {
		return err
	}
	open, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(open, id) {
		if err := s.execute(ctx, "blockdev-add", fileNode(id, d), nil); err != nil {
			return err
		}
	}
	return s.execute(ctx, "block-export-add", object{
		"type": "nbd", "id": id, "node-name": id, "name": d.Name, "writable": true,
	}, nil)
}

// Revoke ends the exports and closes the disks. Closing flushes them.
func (s *Secondary) Revoke(ctx context.Context) error {
	if s.proc.ended() {
		return nil // the kernel has closed all
	}
	return s.about("revoke", s.revoke(ctx))
}

func (s *Secondary) revoke(ctx context.Context) error {
	there, err := s.exports(ctx)
	if err != nil {
		return err
	}
	for _, e := range there {
		if err := s.execute(ctx, "block-export-del", object{"id": e.ID, "mode": "hard"}, nil); err != nil {
			return err
		}
	}
	err = s.until(ctx, func() (bool, error) {
		left, err := s.exports(ctx)
		return len(left) == 0, err
	})
	if err != nil {
		return err
	}
	return s.closeDisks(ctx)
}

func (s *Secondary) closeDisks(ctx context.Context) error {
	open, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for _, name := range open {
		if strings.HasPrefix(name, "#") {
			continue // a node below another, which goes with it
		}
		if err := s.execute(ctx, "blockdev-del", object{"node-name": name}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Stop revokes and ends the daemon.
func (s *Secondary) Stop(ctx context.Context) error {
	if err := s.Revoke(ctx); err != nil && !droveway.Is(err, droveway.NotFound) {
		return err
	}
	if err := s.endProcess(ctx); err != nil {
		return s.about("stop serving", err)
	}
	s.h.remove()
	return nil
}
