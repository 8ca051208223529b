package inspect

import (
	"path"
	"strings"

	"github.com/droveway/droveway"
)

const (
	// hookRules has the shell functions by which initramfs-tools chooses modules.
	hookRules = "/usr/share/initramfs-tools/hook-functions"
	maxRules  = 256 << 10
	// hookSettings are those of packages.
	hookSettings = "/usr/share/initramfs-tools/conf-hooks.d"
	// Between these lines it chooses those of an initramfs for any machine.
	rulesBegin = "\nauto_add_modules()"
	rulesEnd   = "\n}\n"
)

// ruled are those of the modules that initramfs-tools of this system puts into each
// initramfs for any machine: its rules name them, or copy the folder of their drivers
// with no word of their file, which would be left out.
//
// So a part of such an initramfs is enough to know that it has them all. Files are the
// modules' as modules.dep has them.
func (s *inspection) ruled(files map[string]string) map[string]bool {
	b, err := s.tree.ReadFile(hookRules, maxRules)
	if err != nil || s.hooked() {
		return nil
	}
	_, rules, _ := strings.Cut(string(b), rulesBegin)
	rules, _, whole := strings.Cut(rules, rulesEnd)
	if !whole {
		return nil
	}
	words := map[string]bool{}
	for line := range strings.Lines(rules) {
		line, _, _ = strings.Cut(line, "#")
		for w := range strings.FieldsFuncSeq(line, betweenWords) {
			words[w] = true
		}
	}
	in := map[string]bool{}
	for module, file := range files {
		if below, absolute := strings.CutPrefix(file, "/lib/modules/"); absolute {
			_, file, _ = strings.Cut(below, "/") // as depmod wrote it once
		}
		base, _, _ := strings.Cut(path.Base(file), ".")
		in[module] = words[module] || words[base] || words[path.Dir(file)] && !words[base+".ko"]
	}
	return in
}

// hooked reports whether a package has a say in how modules are chosen: its settings
// come last, and are not copied into the initramfs (initramfs-tools(7)).
func (s *inspection) hooked() bool {
	names, err := s.tree.ReadDir(hookSettings)
	if err != nil {
		return !droveway.Is(err, droveway.NotFound)
	}
	for _, n := range names {
		b, err := s.tree.ReadFile(hookSettings+"/"+n, maxConfig)
		if err != nil || strings.Contains(string(b), "MODULES=") {
			return true
		}
	}
	return false
}

func betweenWords(r rune) bool { return strings.ContainsRune(" \t\n\\\"'", r) }
