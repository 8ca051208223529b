package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// made reports whether the secondary was made from the same spec.
func (h *daemon) made(spec hypervisor.SecondarySpec) bool {
	mine, err1 := json.Marshal(h.Spec)
	theirs, err2 := json.Marshal(spec)
	return err1 == nil && err2 == nil && bytes.Equal(mine, theirs)
}

func (h *daemon) remove() {
	b, err := os.ReadFile(h.file(daemonHandle))
	if now, perr := parseDaemon(b); err != nil || perr != nil || now.Process != h.Process {
		return // another one is in its place
	}
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
		if s, err := attachSecondary(raw); err == nil {
			if s.h.made(spec) && s.answers(ctx) {
				return s, nil
			}
			_ = s.Close()
		}
	}
	if err := killStrays(ctx, spec.Dir, daemonMonitor); err != nil {
		return nil, err
	}
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
	socket, address, err := listen(ctx, spec.Listen)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	mon, err := monitorSocket(spec.Dir, daemonMonitor)
	if err != nil {
		return nil, err
	}
	defer mon.Close()
	creds, err := readCredentials(spec.TLS, server, spec.Dir, user)
	if err != nil {
		return nil, err
	}
	if creds != nil {
		defer creds.forget()
	}
	h := daemon{Spec: spec, Address: address, User: d.cfg.User}
	from := size(h.file(daemonLog))
	proc, err := spawn(program{
		path: d.cfg.StorageDaemon, dir: spec.Dir, log: h.file(daemonLog), user: user, files: []*os.File{mon, socket},
		args: daemonArguments(creds, spec.Peer),
	})
	if err != nil {
		return nil, err
	}
	h.Process = proc.id
	s := &Secondary{h: h}
	s.monitor = newMonitor("the secondary", h.file(daemonMonitor), proc, h.remove)
	if err := s.begin(ctx); err != nil {
		if proc.ended() {
			err = refusal(tail(h.file(daemonLog), from), err)
		}
		s.abandon()
		return nil, err
	}
	return s, nil
}

// begin waits until the daemon answers and writes its handle down.
func (s *Secondary) begin(ctx context.Context) error {
	if _, err := s.connect(ctx); err != nil {
		return err
	}
	return writeFile(s.h.file(daemonHandle), s.h.encode())
}

func daemonArguments(creds *credentials, peer string) []string {
	a := []string{"--chardev", monitorArguments(daemonMonitor), "--monitor", "chardev=" + daemonMonitor}
	nbd := fmt.Sprintf("addr.type=fd,addr.str=%d", nextFD)
	if creds != nil {
		a, nbd = append(a, "--object", creds.object().String()), nbd+",tls-creds="+creds.id
		if peer != "" {
			id, list := onlyPeer(peer)
			a, nbd = append(a, "--object", list.String()), nbd+",tls-authz="+id
		}
	}
	return append(a, "--nbd-server", nbd)
}

// listen makes the socket that the daemon listens at. It is made here for two
// reasons: the daemon cannot tell which port the kernel has chosen, and it does
// not switch off Nagle's algorithm, which costs 40 ms for each connection and
// many a request. Connections inherit that from the socket.
func listen(ctx context.Context, address string) (socket *os.File, real string, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }); cerr != nil {
			return cerr
		}
		return err
	}}
	lc.SetMultipathTCP(false) // its sockets do not hand the option on
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, "", droveway.Errorf(droveway.Unavailable, "listen at %s: %w", address, err)
	}
	defer l.Close()
	socket, err = l.(*net.TCPListener).File()
	if err != nil {
		return nil, "", droveway.Errorf(droveway.Internal, "listen at %s: %w", address, err)
	}
	return socket, l.Addr().String(), nil
}

// abandon ends a daemon that was not started in full.
func (s *Secondary) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	_ = s.proc.kill(ctx)
	_ = s.Close()
	for _, name := range []string{daemonMonitor, daemonHandle, daemonLog} {
		_ = os.Remove(s.h.file(name))
	}
}

// AttachSecondary finds a running storage daemon.
func (d *Driver) AttachSecondary(_ context.Context, raw hypervisor.Handle) (hypervisor.Secondary, error) {
	s, err := attachSecondary(raw)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func attachSecondary(raw hypervisor.Handle) (*Secondary, error) {
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
	return s, nil
}

// answersWithin bounds the wait for the monitor of a daemon that is to be used again:
// another client may hold it.
const answersWithin = 15 * time.Second

func (s *Secondary) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	_, err := s.connect(ctx)
	return err == nil
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
	s.clear()
	return nil
}
