package probe

import (
	"testing"

	"github.com/droveway/droveway/internal/discover/probe/capture"
)

func TestScope(t *testing.T) {
	t.Parallel()
	from := func(ns uint32, pid int) capture.Event {
		return capture.Event{Kind: capture.Opened, Key: capture.Key{Namespace: ns}, PID: pid}
	}
	s := newScope(false)
	if s.has(from(1, 0)) {
		t.Error("a namespace with nobody in it is the probe's")
	}
	s.surveyed(map[uint32]int{1: 42})
	if !s.has(from(1, 0)) || s.has(from(2, 0)) || !s.has(from(2, 43)) || !s.has(from(2, 0)) {
		t.Error("a namespace is known by the processes in it")
	}
	s.surveyed(nil) // looked before the process was there
	if !s.has(from(2, 0)) {
		t.Error("one survey makes a new namespace unknown")
	}
	s.surveyed(nil)
	if s.has(from(1, 0)) || s.has(from(2, 0)) || len(s.seen) != 0 {
		t.Errorf("gone, and yet known: %v", s.seen)
	}
	if !newScope(true).has(from(3, 0)) {
		t.Error("in the initial PID namespace everything is the probe's")
	}
}
