package conntrack

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/netns"
	"golang.org/x/sys/unix"
)

// Watcher reads the tables of network namespaces. Make it with New.
type Watcher struct {
	proc    string
	deliver func(discover.Translation)
	running sync.WaitGroup

	mu     sync.Mutex
	taps   map[uint32]*os.File
	lost   uint64
	closed bool
}

// maxTaps bounds the namespaces that are watched: one that translates for others
// is a router, of which a machine has few.
const maxTaps = 256

// New makes a watcher that hands over each translation, from several goroutines.
// It opens nothing.
func New(proc string, deliver func(discover.Translation)) *Watcher {
	return &Watcher{proc: proc, deliver: deliver, taps: map[uint32]*os.File{}}
}

// Follow says which network namespaces there are, and a process in each. What a
// table holds is told when its namespace is new. The error tells of the namespaces
// whose table cannot be read; the others are.
func (w *Watcher) Follow(namespaces map[uint32]int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	var errs []error
	for ns, t := range w.taps {
		if _, there := namespaces[ns]; !there {
			errs = append(errs, t.Close())
			delete(w.taps, ns)
		}
	}
	for ns, pid := range namespaces {
		if w.taps[ns] == nil && len(w.taps) < maxTaps {
			errs = append(errs, w.follow(ns, pid))
		}
	}
	return errors.Join(errs...)
}

func (w *Watcher) follow(ns uint32, pid int) error {
	return netns.Inside(w.proc, pid, func() error {
		t, err := listen()
		if err != nil {
			return err
		}
		w.taps[ns] = t
		w.running.Go(func() { w.read(t) })
		return nil
	})
}

// read hands over what a table tells until its socket is closed.
func (w *Watcher) read(t *os.File) {
	b := make([]byte, readSize)
	for {
		n, err := t.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.mu.Lock()
			w.lost++ // at least
			w.mu.Unlock()
		case err != nil:
			return // closed
		}
		for _, one := range translations(b[:max(n, 0)]) {
			w.deliver(one)
		}
	}
}

// Lost is how often entries did not fit into the kernel's buffer.
func (w *Watcher) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Close ends it.
func (w *Watcher) Close() error {
	w.mu.Lock()
	w.closed = true
	var errs []error
	for ns, t := range w.taps {
		errs = append(errs, t.Close())
		delete(w.taps, ns)
	}
	w.mu.Unlock()
	w.running.Wait()
	return errors.Join(errs...)
}

const (
	readSize = 64 << 10 // the kernel writes 32 KiB at once, at most
	buffer   = 4 << 20  // of entries that may wait to be read
	// newEntries is the group that hears of new ones (NFNLGRP_CONNTRACK_NEW).
	newEntries = 1
)

// listen opens a socket where the thread is that hears of new entries, and asks
// for those that are there.
func listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, droveway.Errorf(droveway.Unsupported, "read the table of connections: %w", err)
	}
	if err := prepare(fd); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "conntrack"), nil
}

func prepare(fd int) error {
	// The usual limit holds no more than a few hundred entries.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return fmt.Errorf("read the table of connections: %w", err)
		}
	}
	err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (newEntries - 1)})
	if err == nil {
		err = unix.Sendto(fd, request(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if errors.Is(err, unix.EPERM) {
		return droveway.Errorf(droveway.Permission, "read the table of connections: run the probe as root or give it CAP_NET_ADMIN: %w", err)
	}
	if err != nil {
		return droveway.Errorf(droveway.Unsupported, "read the table of connections: %w", err)
	}
	return nil
}
