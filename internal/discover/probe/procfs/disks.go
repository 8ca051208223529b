package procfs

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DiskBytes is how much the file systems on the machine's own disks hold: what
// would have to be copied to move it. 0: no such disk can be seen.
func (p Proc) DiskBytes() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(p.root, "self/mountinfo"))
	if err != nil {
		return 0, err
	}
	var sum uint64
	for _, at := range devices(string(b)) {
		var s unix.Statfs_t
		if unix.Statfs(at, &s) == nil && s.Blocks >= s.Bfree { // one that is gone holds nothing
			sum += (s.Blocks - s.Bfree) * uint64(s.Bsize)
		}
	}
	return sum, nil
}

// devices gives where each block device is mounted, the first place of each, from
// the text of mountinfo (proc(5)). Images that are only read are no data of the
// machine.
func devices(mountinfo string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 || !strings.HasPrefix(right[1], "/dev/") {
			continue
		}
		switch right[0] {
		case "squashfs", "iso9660", "erofs", "devtmpfs":
			continue
		}
		if _, seen := all[left[2]]; !seen {
			all[left[2]] = unescape(left[4])
		}
	}
	return all
}

// unescape turns the octal of mountinfo into what stands for it.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
