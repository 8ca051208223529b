package procfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is mounted twice counts once, and what is no disk of the machine never.
func TestDevices(t *testing.T) {
	t.Parallel()
	const text = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 254:1 /var /srv/chroot rw,relatime shared:1 - ext4 /dev/vda1 rw
24 22 254:2 / /mnt/my\040disk rw shared:2 master:1 - xfs /dev/vdb rw
25 22 7:0 / /snap/core ro - squashfs /dev/loop0 ro
26 22 0:5 / /proc rw - proc proc rw
27 22 0:6 / /home rw - nfs4 server:/home rw
a line that is cut
28 22 254:9 / - ext4
`
	if diff := cmp.Diff(map[string]string{"254:1": "/", "254:2": "/mnt/my disk"}, devices(text)); diff != "" {
		t.Error(diff)
	}
}

func FuzzDevices(f *testing.F) {
	f.Add("22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n")
	f.Fuzz(func(_ *testing.T, text string) { devices(text) })
}
