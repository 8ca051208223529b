package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unmount ends all mounts below a directory, the last one first. Whoever still
// uses one keeps it until he ends.
func Unmount(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	below := mountsBelow(b, dir)
	slices.Reverse(below)
	for _, path := range below {
		if uerr := unix.Unmount(path, unix.MNT_DETACH); uerr != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", path, uerr))
		}
	}
	return err
}

// mountsBelow finds the mount points below a directory in a mountinfo, as in
// proc_pid_mountinfo(5).
func mountsBelow(mountinfo []byte, dir string) (below []string) {
	const mountPoint = 4
	for line := range bytes.Lines(mountinfo) {
		f := strings.Fields(string(line))
		if len(f) <= mountPoint {
			continue
		}
		if path := unescape(f[mountPoint]); strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			below = append(below, path)
		}
	}
	return below
}

// unescape reads the octal escapes that mountinfo has for spaces and the like.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
