package inspect

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

const someRules = `
dep_add_modules()
{
	manual_add_modules virtio_mmio
}

auto_add_modules()
{
	case "$arg" in
	base)
		modules="$modules ext4"
		modules="$modules virtio_pci xhci-hcd" # virtio_input
		;;
	net)
		copy_modules_dir kernel/drivers/net \
			dummy.ko veth.ko virtio_net.ko
		;;
	block)
		copy_modules_dir kernel/drivers/block
		;;
	esac
}

hidden_dep_add_modules()
{
	manual_add_modules virtio_console
}
`

func TestRuled(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"virtio_pci":     "kernel/drivers/virtio/virtio_pci.ko.xz", // named
		"xhci_hcd":       "kernel/drivers/usb/xhci-hcd.ko",         // named as its file is
		"virtio_blk":     "/lib/modules/1/kernel/drivers/block/virtio_blk.ko",
		"virtio_net":     "kernel/drivers/net/virtio_net.ko",       // left out
		"virtio_scsi":    "kernel/drivers/scsi/virtio_scsi.ko",     // its folder is not copied
		"virtio_input":   "kernel/drivers/virtio/virtio_input.ko",  // a comment
		"virtio_mmio":    "kernel/drivers/virtio/virtio_mmio.ko",   // for another way of choosing
		"virtio_console": "kernel/drivers/char/virtio_console.ko",  // the same
		"updated":        "updates/dkms/kernel/drivers/block/x.ko", // a folder of another name
	}
	settings, set := hookSettings+"/some", "BUSYBOX=y\n"
	ruled := func(text string) []string {
		s := &inspection{tree: filesystem.NewTree(filesystemtest.Memory{What: filesystemtest.FilesOf(map[string]string{hookRules: text, settings: set})}, false)}
		in := s.ruled(files)
		maps.DeleteFunc(in, func(_ string, yes bool) bool { return !yes })
		return slices.Sorted(maps.Keys(in))
	}
	if diff := cmp.Diff([]string{"virtio_blk", "virtio_pci", "xhci_hcd"}, ruled(someRules)); diff != "" {
		t.Error(diff)
	}
	set = "MODULES=dep\n"
	if got := ruled(someRules); len(got) > 0 {
		t.Errorf("a package chooses otherwise: %v", got)
	}
	if settings = hookSettings; len(ruled(someRules)) > 0 {
		t.Error("the rules are believed though settings of packages cannot be listed")
	}
	if settings = "/other"; len(ruled(someRules)) == 0 {
		t.Error("without settings of packages the rules are not believed")
	}
	for name, text := range map[string]string{"none": "", "others": "copy_exec()\n{\n}\n", "cut": someRules[:strings.Index(someRules, "\tesac")]} {
		if got := ruled(text); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
