// Package pidns tells which PID namespace the process numbers of a proc file
// system are of. It reads that file system alone.
package pidns

import (
	"bufio"
	"bytes"
	"os"

	"github.com/droveway/droveway"
	"golang.org/x/sys/unix"
)

// Namespace is a PID namespace as the kernel itself knows it.
type Namespace struct {
	Device uint64 // of the file system of namespaces, major number << 20 | minor number
	Inode  uint64
}

// initial is the inode of the first namespace, PROC_PID_INIT_INO of the kernel's
// include/linux/proc_ns.h: it is the same on every machine.
const initial = 0xeffffffc

// Initial reports whether it is the one that all others are in.
func (n Namespace) Initial() bool { return n.Inode == initial }

// Of gives the namespace of a mounted proc file system: usually that of the
// caller, but who has the file system of another one finds that one's numbers in
// it. Unsupported: it cannot be told.
func Of(proc string) (Namespace, error) {
	process := proc + "/1" // its first process is in its namespace
	if status, err := os.ReadFile(proc + "/self/status"); err == nil && depth(status) == 1 {
		process = proc + "/self" // which may be looked at without privileges
	}
	var st unix.Stat_t
	if err := unix.Stat(process+"/ns/pid", &st); err != nil {
		return Namespace{}, droveway.Errorf(droveway.Unsupported, "find the PID namespace of %s: mount there the proc file system of the probe's own PID namespace: %w", proc, err)
	}
	// What stat(2) gives is encoded for programs, with a part of the minor number
	// above the major one.
	return Namespace{Device: uint64(unix.Major(st.Dev))<<20 | uint64(unix.Minor(st.Dev)), Inode: st.Ino}, nil
}

// depth counts the namespaces in which a process has a number, from that of the
// file system to its own: the line NSpid of proc_pid_status(5).
func depth(status []byte) int {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if numbers, ok := bytes.CutPrefix(lines.Bytes(), []byte("NSpid:")); ok {
			return len(bytes.Fields(numbers))
		}
	}
	return 0
}
