package repair

import "testing"

// TestNeeded tells what a guest cannot run without from what makes it better: an image
// that is made for virtio is not to be touched.
func TestNeeded(t *testing.T) {
	t.Parallel()
	loader := func(old, text string) Step {
		return Step{Name: "loader", Files: []File{{Path: "/etc/default/grub", Old: old, Text: text}}}
	}
	for name, k := range map[string]struct {
		step Step
		want bool
	}{
		"fstab":          {Step{Name: "fstab"}, true},
		"initramfs":      {Step{Name: "initramfs"}, true},
		"fallback":       {Step{Name: "uefi-fallback"}, true},
		"root by name":   {loader("linux /vmlinuz root=/dev/sda1 ro", "linux /vmlinuz root=UUID=1d8f ro"), true},
		"serial console": {loader("linux /vmlinuz root=UUID=1d8f", "linux /vmlinuz root=UUID=1d8f console=ttyS0"), false},
		"dhcp":           {Step{Name: "dhcp"}, true}, // there only if it was asked for
		"cards":          {Step{Name: "cards"}, false},
		"tools":          {Step{Name: "tools"}, false},
		"selinux":        {Step{Name: "selinux"}, false},
	} {
		p := Plan{Steps: []Step{{Name: "tools"}, k.step}}
		if got := p.Needed(); got != k.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (&Plan{}).Needed() {
		t.Error("nothing is needed")
	}
}

// TestPrograms runs what the guest has where files are not enough, or if all is asked for.
func TestPrograms(t *testing.T) {
	t.Parallel()
	for _, k := range []struct{ enough, full, runs bool }{{false, false, true}, {false, true, true}, {true, false, false}, {true, true, true}} {
		s := Step{Enough: k.enough, Run: [][]string{{"update-grub"}}}
		if got := len(s.Programs(k.full)) > 0; got != k.runs {
			t.Errorf("files are enough: %t, all is asked for: %t: programs run: %t", k.enough, k.full, got)
		}
	}
}
