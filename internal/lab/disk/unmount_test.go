package disk

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountsBelow(t *testing.T) {
	t.Parallel()
	const info = `22 1 0:21 / / rw - ext4 /dev/root rw
31 22 0:40 / /tmp/l/disks/host-a.front rw - fuse droveway-disk rw
32 22 7:0 / /tmp/l/host\040a rw - ext4 /dev/loop0 rw
33 22 7:1 / /tmp/lab rw - ext4 /dev/loop1 rw
short
`
	want := []string{"/tmp/l/disks/host-a.front", "/tmp/l/host a"}
	if diff := cmp.Diff(want, mountsBelow([]byte(info), "/tmp/l")); diff != "" {
		t.Error(diff)
	}
}
