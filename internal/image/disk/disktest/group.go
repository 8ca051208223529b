package disktest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TwoPieces is a group of LVM, lab, on one device of at least 381 MiB, with one volume,
// root-fs, in two pieces: 120 MiB at FirstPiece, and 200 MiB at SecondPiece, which is
// before it.
const TwoPieces = `contents = "Text Format Volume Group"
version = 1
lab {
id = "%s"
seqno = 2
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192
max_lv = 0
max_pv = 0
physical_volumes {
pv0 { id = "%s" device = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 95 }
}
logical_volumes {
root-fs { id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA" status = ["READ", "WRITE", "VISIBLE"] segment_count = 2
segment1 { start_extent = 0 extent_count = 30 type = "striped" stripe_count = 1 stripes = ["pv0", 50] }
segment2 { start_extent = 30 extent_count = 50 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
} } }
`

// Where the pieces of TwoPieces are on its device, in MiB.
const (
	FirstPiece  = SecondPiece + 50*4
	SecondPiece = 1
)

// Group makes a group of LVM on devices with LVM's own tools, and gives the identifiers
// of the devices. Its text has verbs for the identifier of the group, and for the
// identifier and the path of each device. The lab's kernel need not map it: the bytes
// of its volumes are put in place by hand.
func Group(t testing.TB, name, text string, devs ...string) (ids []string) {
	t.Helper()
	// Only its own devices: tests at the same time have groups of the same name.
	var filter strings.Builder
	for _, d := range devs {
		fmt.Fprintf(&filter, "%q, ", "a|^"+regexp.QuoteMeta(d)+"$|")
	}
	config := fmt.Sprintf(`devices { use_devicesfile=0 filter=[ %s"r|.*|" ] } activation { udev_sync=0 udev_rules=0 }`, filter.String())
	id := func(command, field, of string) string {
		lines := strings.Split(strings.TrimSpace(Tool(t, command, "--noheadings", "--config", config, "-o", field, of)), "\n")
		return strings.TrimSpace(lines[len(lines)-1]) // others are warnings
	}
	var members []any
	for _, d := range devs {
		Tool(t, "pvcreate", "-q", "-y", "--config", config, d)
		ids = append(ids, id("pvs", "pv_uuid", d))
		members = append(members, ids[len(ids)-1], d)
	}
	Tool(t, "vgcreate", append([]string{"-q", "--config", config, name}, devs...)...)
	backup := filepath.Join(t.TempDir(), "group")
	if err := os.WriteFile(backup, fmt.Appendf(nil, text, append([]any{id("vgs", "vg_uuid", name)}, members...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	Tool(t, "vgcfgrestore", "-q", "-f", backup, "--config", config, name)
	return ids
}
