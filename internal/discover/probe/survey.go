package probe

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/kernel"
	"github.com/droveway/droveway/internal/discover/probe/netns"
	"github.com/droveway/droveway/internal/discover/probe/procfs"
)

// surveyor looks at everything that is there: sockets, processes, addresses. It
// finds connections that were open before the probe, those whose events were
// lost, UDP, and who holds which socket.
type surveyor struct {
	proc      procfs.Proc
	walker    *kernel.Walker // nil: sockets are read from /proc, without numbers
	ledger    *ledger
	directory *directory
	only      uint32 // network namespace; 0: all
	log       *slog.Logger

	found func([]netip.Addr) // the addresses of the host
	told  map[string]bool
}

// sighting is a socket that is there.
type sighting struct {
	tuple
	socket    uint64
	inode     uint64
	listening bool
	isn       func(outbound bool) uint64 // nil: not known
}

// look makes one survey and gives what it saw of the processes.
func (s *surveyor) look() (procfs.Census, error) {
	s.ledger.surveying()
	census, err := s.proc.Census()
	if err != nil {
		return census, err
	}
	if s.only != 0 {
		maps.DeleteFunc(census.Namespaces, func(ns uint32, _ int) bool { return ns != s.only })
	}
	if census.Hidden > 0 {
		s.complain("the sockets of some processes are hidden: run the probe as root or give it CAP_SYS_PTRACE", droveway.Errorf(droveway.Permission, "%d processes", census.Hidden))
	}
	var all []sighting
	walked := map[uint32]bool{}
	addresses := map[netip.Addr]bool{}
	var errs []error
	for ns, pid := range census.Namespaces {
		seen, err := s.namespace(ns, pid, addresses)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		walked[ns] = true
		all = append(all, seen...)
	}
	now := time.Now()
	for _, seen := range all {
		s.directory.meet(census.Owners[seen.inode], "", now)
	}
	s.ledger.merge(all, census.Owners, walked)
	s.found(sorted(addresses))
	return census, errors.Join(errs...)
}

// complain says once what privileges would show. Whatever else goes wrong in a
// survey is of processes that end meanwhile, and is right the next time.
func (s *surveyor) complain(what string, err error) {
	if !droveway.Is(err, droveway.Permission) && !errors.Is(err, fs.ErrPermission) {
		s.log.Debug("survey", "error", err)
		return
	}
	if !s.told[what] {
		s.told[what] = true
		s.log.Warn(what, "error", err)
	}
}

// namespace sees the sockets of one network namespace.
func (s *surveyor) namespace(ns uint32, pid int, addresses map[netip.Addr]bool) (all []sighting, err error) {
	table := func(k procfs.Socket) {
		if k.Connected() || k.Listening() {
			t := tuple{k.Protocol, ns, k.Local, k.Remote}
			all = append(all, sighting{tuple: t, inode: k.Inode, listening: k.Listening()})
		}
	}
	if err := s.proc.Tables(pid, "udp", table); err != nil {
		return nil, err
	}
	if s.walker == nil {
		if err := s.proc.Tables(pid, "tcp", table); err != nil {
			return nil, err
		}
	}
	err = netns.Inside(s.proc.Root(), pid, func() error {
		if err := interfaceAddresses(addresses); err != nil || s.walker == nil {
			return err
		}
		return s.walker.Walk(func(f kernel.Found) {
			t := tuple{"tcp", ns, f.Local, f.Remote}
			all = append(all, sighting{t, f.Socket, f.Inode, f.Listening, f.ISN})
		})
	})
	return all, err
}

func interfaceAddresses(into map[netip.Addr]bool) error {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			into[p.Addr().Unmap()] = true
		}
	}
	return nil
}

func sorted(set map[netip.Addr]bool) []netip.Addr {
	var all []netip.Addr
	for a := range set {
		all = append(all, a)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all[:min(len(all), discover.MaxAddresses)]
}
