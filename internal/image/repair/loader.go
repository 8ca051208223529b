package repair

import (
	"regexp"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/inspect"
)

// loaderConfigs are where boot loaders name the root and the console.
var loaderConfigs = []string{
	"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/grub/menu.lst", "/boot/grub/grub.conf", "/boot/extlinux.conf", "/boot/extlinux/extlinux.conf",
	"/boot/loader/entries/*.conf", "/etc/kernel/cmdline",
}

// loaderSources are what those are made from.
var loaderSources = []string{"/etc/default/grub", "/etc/update-extlinux.conf"}

// loader lets the kernel find its root by UUID, and write to the serial console. The
// configuration is changed as well as what it is made from, so that the guest boots
// whether or not its own program makes it anew.
func (p *planner) loader() {
	s := Step{Name: "loader", What: "find the root by UUID, and write to the serial console", Why: "disks have other names here, and the console of a machine is its serial one", Enough: true}
	id := p.uuid(strings.Split(p.r.System.Root, "[")[0])
	for _, pattern := range loaderConfigs {
		for _, f := range p.t.Glob(pattern) {
			if strings.HasSuffix(f, ".cfg") {
				s.Makes = append(s.Makes, f)
			}
			s.Files = append(s.Files, p.change(f, func(old string) string { return consoleOfKernels(f, rootByUUID(old, id)) })...)
		}
	}
	for _, f := range loaderSources {
		if p.t.Exists(f) {
			s.Files = append(s.Files, p.change(f, func(old string) string { return consoleOfGRUB(rootByUUID(old, id)) })...)
		}
	}
	if len(s.Files) == 0 {
		return
	}
	if run := p.families[p.plan.Family].Loader[p.r.System.BootLoader]; len(run) > 0 {
		s.Run = [][]string{run}
	} else {
		s.Makes = nil
	}
	p.step(s)
}

var rootOption = regexp.MustCompile(`\broot="?(/dev/[a-z0-9]+)`)

func rootByUUID(old, id string) string {
	if id == "" {
		return old
	}
	return rootOption.ReplaceAllStringFunc(old, func(m string) string {
		if at := strings.Index(m, "/dev/"); inspect.DiskName(m[at:]) {
			return m[:at] + "UUID=" + id
		}
		return m
	})
}

// serial is the console of a machine. A screen, if it gets one, shows the same.
const serial = "console=tty0 console=ttyS0,115200"

var grubOptions = regexp.MustCompile(`(?m)^(GRUB_CMDLINE_LINUX=)(["']?)(.*?)["']?[ \t]*$`)

// consoleOfGRUB adds the serial console to the defaults of GRUB.
func consoleOfGRUB(old string) string {
	if strings.Contains(old, "console=ttyS0") {
		return old
	}
	return grubOptions.ReplaceAllStringFunc(old, func(m string) string {
		g := grubOptions.FindStringSubmatch(m)
		return g[1] + `"` + strings.TrimSpace(g[3]+" "+serial) + `"`
	})
}

// kernelLines are where each loader gives options to a kernel: GRUB, GRUB of old, boot
// loader entries, extlinux, and what is nothing but options.
var kernelLines = []struct{ file, line *regexp.Regexp }{
	{regexp.MustCompile(`/grub\.cfg$`), regexp.MustCompile(`(?m)^\s*linux(?:16|efi)?\s+\S*vmlinuz\S*.*$`)},
	{regexp.MustCompile(`/(?:menu\.lst|grub\.conf)$`), regexp.MustCompile(`(?m)^\s*kernel\s+\S*vmlinuz\S*.*$`)},
	{regexp.MustCompile(`/loader/entries/`), regexp.MustCompile(`(?m)^options\s.*$`)},
	{regexp.MustCompile(`/extlinux\.conf$`), regexp.MustCompile(`(?mi)^\s*append\s.*$`)},
	{regexp.MustCompile(`^/etc/kernel/cmdline$`), regexp.MustCompile(`^.+`)},
}

// consoleOfKernels adds the serial console to every kernel of a configuration.
func consoleOfKernels(file, old string) string {
	i := slices.IndexFunc(kernelLines, func(k struct{ file, line *regexp.Regexp }) bool { return k.file.MatchString(file) })
	if i < 0 {
		return old
	}
	return kernelLines[i].line.ReplaceAllStringFunc(old, func(line string) string {
		if strings.Contains(line, "console=ttyS0") {
			return line
		}
		return strings.TrimRight(line, " \t\r") + " " + serial
	})
}
