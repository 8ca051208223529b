// Package spool keeps reports in files until somebody has them: they outlive the
// probe, and take no more than so much of the disk. It touches its directory
// alone.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/droveway/droveway"
)

// Spool is a queue of reports on disk. Each is a file NUMBER-EVENTS.report; it
// becomes visible whole. Files are not forced to the disk: they outlive the
// process, not always the loss of power.
type Spool struct {
	dir  string
	most int64 // bytes

	mu    sync.Mutex
	items []item // oldest first
	bytes int64
	next  uint64
	lost  uint64
	ready chan struct{}
}

type item struct {
	number, events uint64
	size           int64
}

const suffix = ".report"

func (i item) name() string { return fmt.Sprintf("%020d-%d%s", i.number, i.events, suffix) }

// Open opens the spool in a directory, which is made if it is not there, with
// what was left in it. It holds most bytes.
func Open(dir string, most int64) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool of reports: %w", err)
	}
	s := &Spool{dir: dir, most: most, next: 1, ready: make(chan struct{}, 1)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the spool of reports: %w", err)
	}
	for _, e := range entries {
		if err := s.found(e); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(s.items, func(a, b item) int { return int(a.number) - int(b.number) })
	s.signal()
	return s, nil
}

// found takes up a file that is there. Half-written ones are removed.
func (s *Spool) found(e fs.DirEntry) error {
	name := e.Name()
	if strings.HasSuffix(name, ".tmp") {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
			return fmt.Errorf("clean the spool of reports: %w", err)
		}
		return nil
	}
	i, ok := parseName(name)
	info, err := e.Info()
	if !ok || err != nil || !info.Mode().IsRegular() {
		return nil // none of ours
	}
	i.size = info.Size()
	s.items = append(s.items, i)
	s.bytes += i.size
	s.next = max(s.next, i.number+1)
	return nil
}

func parseName(name string) (i item, ok bool) {
	text, ok := strings.CutSuffix(name, suffix)
	number, events, _ := strings.Cut(text, "-")
	var errs [2]error
	i.number, errs[0] = strconv.ParseUint(number, 10, 62)
	i.events, errs[1] = strconv.ParseUint(events, 10, 62)
	return i, ok && errors.Join(errs[:]...) == nil && i.name() == name
}

// Put adds a report, in place of the oldest ones if there is no room. Events is
// how much is lost with it.
func (s *Spool) Put(report []byte, events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := item{s.next, uint64(events), int64(len(report))}
	if i.size > s.most {
		return droveway.Errorf(droveway.Invalid, "a report of %d bytes does not fit into a spool of %d", i.size, s.most)
	}
	s.next++
	for s.bytes+i.size > s.most {
		s.lost += s.items[0].events
		if err := s.drop(); err != nil {
			return err
		}
	}
	if err := s.write(i, report); err != nil {
		return err
	}
	s.items = append(s.items, i)
	s.bytes += i.size
	s.signal()
	return nil
}

func (s *Spool) write(i item, report []byte) error {
	path := filepath.Join(s.dir, i.name())
	err := os.WriteFile(path+".tmp", report, 0o600)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write to the spool of reports: %w", err), ignoreMissing(os.Remove(path+".tmp")))
	}
	return nil
}

// drop removes the oldest.
func (s *Spool) drop() error {
	i := s.items[0]
	s.items = s.items[1:]
	s.bytes -= i.size
	if err := ignoreMissing(os.Remove(filepath.Join(s.dir, i.name()))); err != nil {
		return fmt.Errorf("remove from the spool of reports: %w", err)
	}
	return nil
}

// Oldest gives the report that has waited longest and its number. NotFound:
// there is none.
func (s *Spool) Oldest() (uint64, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.items) > 0 {
		b, err := os.ReadFile(filepath.Join(s.dir, s.items[0].name()))
		if err == nil {
			return s.items[0].number, b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, nil, fmt.Errorf("read from the spool of reports: %w", err)
		}
		s.lost += s.items[0].events // somebody removed it
		if err := s.drop(); err != nil {
			return 0, nil, err
		}
	}
	return 0, nil, droveway.Errorf(droveway.NotFound, "the spool of reports is empty")
}

// Done removes a report that somebody has. It may be gone already, to make room.
func (s *Spool) Done(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) == 0 || s.items[0].number != number {
		return nil
	}
	return s.drop()
}

// Ready receives when there may be something new.
func (s *Spool) Ready() <-chan struct{} { return s.ready }

func (s *Spool) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Waiting is how many reports there are and their bytes.
func (s *Spool) Waiting() (reports int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items), s.bytes
}

// TakeLost gives the events that were lost since the last call.
func (s *Spool) TakeLost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	s.lost = 0
	return n
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
