package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

func open(t *testing.T, dir string, most int64) *Spool {
	t.Helper()
	s, err := Open(dir, most)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Spool, text string, events int) {
	t.Helper()
	if err := s.Put([]byte(text), events); err != nil {
		t.Fatal(err)
	}
}

// all takes everything out.
func all(t *testing.T, s *Spool) (texts []string) {
	t.Helper()
	for {
		n, b, err := s.Oldest()
		if droveway.Is(err, droveway.NotFound) {
			return texts
		}
		if err = errors.Join(err, s.Done(n)); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
}

func TestOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 1000)
	for _, text := range []string{"one", "two", "three"} {
		put(t, s, text, 1)
	}
	n, _, err := s.Oldest()
	if err != nil || s.Done(n) != nil {
		t.Fatal(err)
	}
	// A kill leaves what was half written; others leave their own files.
	for _, name := range []string{"00000000000000000009-1.report.tmp", "README", "5-1.report"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, 1000)
	put(t, s, "four", 1)
	select {
	case <-s.Ready():
	default:
		t.Error("not ready")
	}
	if got := strings.Join(all(t, s), " "); got != "two three four" {
		t.Error(got)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestMakesRoom(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 10)
	put(t, s, "aaaa", 3)
	put(t, s, "bbbb", 5)
	n, _, err := s.Oldest() // is being sent
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "cccc", 7)
	if err := s.Done(n); err != nil {
		t.Fatal(err)
	}
	if reports, bytes := s.Waiting(); reports != 2 || bytes != 8 {
		t.Error(reports, bytes)
	}
	if got := s.TakeLost(); got != 3 || s.TakeLost() != 0 {
		t.Error(got)
	}
	if got := strings.Join(all(t, s), " "); got != "bbbb cccc" {
		t.Error(got)
	}
	if err := s.Put(make([]byte, 11), 1); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
}

func TestFilesThatVanish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 100)
	put(t, s, "a", 2)
	put(t, s, "b", 1)
	if err := os.Remove(filepath.Join(dir, "00000000000000000001-2.report")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(all(t, s), " "); got != "b" || s.TakeLost() != 2 {
		t.Error(got)
	}
}

func FuzzName(f *testing.F) {
	f.Add("00000000000000000001-2.report")
	f.Add("-1-2.report")
	f.Fuzz(func(t *testing.T, name string) {
		if i, ok := parseName(name); ok && i.name() != name {
			t.Errorf("%q is %+v", name, i)
		}
	})
}
