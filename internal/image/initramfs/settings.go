package initramfs

import (
	"cmp"
	"strings"
)

// settings are what initramfs-tools was told when it made an initramfs, which holds a
// copy of them. What the files of conf.d say comes after the main one, and the last of
// them is right: mkinitramfs(8), initramfs.conf(5).
type settings struct{ main, more string } // values of MODULES

const (
	mainSettings = "conf/initramfs.conf"
	moreSettings = "conf/conf.d/"
	endSettings  = "conf0"  // follows them in an archive that is in order
	maxSettings  = 64 << 10 // bytes of a file
)

func isSetting(name string) bool {
	return name == mainSettings || strings.HasPrefix(name, moreSettings)
}

func (s *settings) read(name, text string) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "MODULES=")
		if !ok {
			continue
		}
		value, _, _ = strings.Cut(value, "#")
		if value = strings.Trim(strings.TrimSpace(value), `"'`); name == mainSettings {
			s.main = value
		} else {
			s.more = value
		}
	}
}

// most says, once all of them have been met in an archive that is in order, whether the
// drivers of any machine were asked for.
func (s *settings) most(name string) bool {
	return name >= endSettings && cmp.Or(s.more, s.main) == "most"
}
