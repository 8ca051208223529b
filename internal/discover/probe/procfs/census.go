package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/droveway/droveway/internal/discover/probe/netns"
)

// Proc is a mounted proc file system.
type Proc struct{ root string }

// New reads the proc file system at a directory, usually /proc.
func New(root string) Proc { return Proc{root} }

// Root is where it is mounted.
func (p Proc) Root() string { return p.root }

// maxOwners bounds a census: a machine with more sockets has owners unknown.
const maxOwners = 1 << 18

// Census says which processes there are, in which network namespaces, and who
// holds which socket.
type Census struct {
	Processes  map[int]bool
	Namespaces map[uint32]int // a process in each
	Owners     map[uint64]int // by the inode of the socket
	Hidden     int            // processes whose sockets could not be seen
}

// Census looks at every process once.
func (p Proc) Census() (Census, error) {
	c := Census{Processes: map[int]bool{}, Namespaces: map[uint32]int{}, Owners: map[uint64]int{}}
	pids, err := p.pids()
	if err != nil {
		return c, err
	}
	for _, pid := range pids {
		c.Processes[pid] = true
		if ns, err := netns.Of(p.root, pid); err == nil {
			if _, known := c.Namespaces[ns]; !known {
				c.Namespaces[ns] = pid
			}
		}
		p.owned(pid, &c)
	}
	return c, nil
}

func (p Proc) pids() ([]int, error) {
	d, err := os.Open(p.root)
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// owned notes the sockets that a process holds. Of several holders the last
// started counts: whoever passes a socket on is older than who serves it.
func (p Proc) owned(pid int, c *Census) {
	dir := filepath.Join(p.root, strconv.Itoa(pid), "fd")
	d, err := os.Open(dir)
	if err != nil {
		if os.IsPermission(err) {
			c.Hidden++
		}
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // what was read before it ended counts
	for _, n := range names {
		target, err := os.Readlink(dir + "/" + n)
		if err != nil {
			continue
		}
		if inode, ok := socketInode(target); ok && len(c.Owners) < maxOwners {
			c.Owners[inode] = max(c.Owners[inode], pid)
		}
	}
}

func socketInode(target string) (uint64, bool) {
	number, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return inode, err == nil
}
