package procfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

// maxText is what a report may hold of one string, in bytes.
const maxText = 512

// Process reads what there is to know of a process, but its package.
func (p Proc) Process(pid int) (discover.Process, error) {
	name, start, err := p.stat(pid)
	if err != nil {
		return discover.Process{}, err
	}
	found := discover.Process{PID: pid, Start: start, Executable: Text(name)}
	dir := filepath.Join(p.root, strconv.Itoa(pid))
	if exe, ok := executable(dir, name); ok {
		found.Executable = Text(exe)
	}
	if groups, err := os.ReadFile(dir + "/cgroup"); err == nil {
		found.Unit, found.Container = parseGroups(string(groups))
	}
	return found, nil
}

func (p Proc) stat(pid int) (name string, start uint64, err error) {
	text, err := os.ReadFile(filepath.Join(p.root, strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0, fmt.Errorf("read process %d: %w", pid, err)
	}
	name, start, ok := parseStat(text)
	if !ok {
		return "", 0, droveway.Errorf(droveway.Internal, "process %d has a stat file that is none", pid)
	}
	return name, start, nil
}

// parseStat reads proc_pid_stat(5). The name, in parentheses, may hold anything.
func parseStat(text []byte) (name string, start uint64, ok bool) {
	from, to := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return "", 0, false
	}
	const startField = 22 - 3 // the fields after the name begin with the third
	fields := bytes.Fields(text[to+1:])
	if len(fields) <= startField {
		return "", 0, false
	}
	start, err := strconv.ParseUint(string(fields[startField]), 10, 64)
	return string(text[from+1 : to]), start, err == nil
}

// Text makes a string fit for a report and for a terminal.
func Text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}
