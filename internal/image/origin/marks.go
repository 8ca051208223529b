package origin

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/droveway/droveway"
)

// marks notes which chunks of a file are there, in memory and in a file beside it,
// a byte each. A mark is written after its chunk. The kernel keeps that order for
// whoever reads the files next, but not through a loss of power: marks of an earlier
// boot of the machine count for nothing.
type marks struct {
	mu   sync.Mutex
	have []byte
	n    int64 // of them are set
	f    *os.File
}

const (
	bootFile = "/proc/sys/kernel/random/boot_id"
	bootLen  = 36 // characters of a boot's identifier, which come first in the file
)

func openMarks(path string, chunks int64) (*marks, error) {
	boot, err := os.ReadFile(bootFile)
	if err != nil {
		return nil, fileError("read", bootFile, err)
	}
	id := strings.TrimSpace(string(boot))
	if len(id) != bootLen {
		return nil, droveway.Errorf(droveway.Internal, "%s: %q is no identifier of a boot", bootFile, id)
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fileError("read", path, err)
	}
	m := &marks{have: make([]byte, chunks)}
	fresh := int64(len(old)) != bootLen+chunks || string(old[:bootLen]) != id
	flags := os.O_RDWR | os.O_CREATE
	if fresh {
		flags |= os.O_TRUNC
	}
	if m.f, err = os.OpenFile(path, flags, 0o600); err != nil {
		return nil, fileError("open", path, err)
	}
	if !fresh {
		m.take(old[bootLen:])
		return m, nil
	}
	if err := m.begin(id, chunks); err != nil {
		_ = m.f.Close()
		return nil, fileError("write", path, err)
	}
	return m, nil
}

func (m *marks) take(old []byte) {
	copy(m.have, old)
	for _, b := range m.have {
		m.n += int64(b & 1)
	}
}

func (m *marks) begin(id string, chunks int64) error {
	if _, err := m.f.WriteAt([]byte(id), 0); err != nil {
		return err
	}
	return m.f.Truncate(bootLen + chunks)
}

func (m *marks) has(chunk int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.have[chunk]&1 == 1
}

// count is how many chunks are there.
func (m *marks) count() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

func (m *marks) set(first, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := first; c < first+n; c++ {
		m.n += int64(1 &^ m.have[c])
		m.have[c] = 1
	}
	if _, err := m.f.WriteAt(m.have[first:first+n], bootLen+first); err != nil {
		return fileError("write", m.f.Name(), err)
	}
	return nil
}
