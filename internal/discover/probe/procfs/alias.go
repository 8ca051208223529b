package procfs

import (
	"os"
	"path"
	"strings"
)

// deletedMark is what the kernel appends to the link of an executable that an
// upgrade replaced.
const deletedMark = " (deleted)"

// executable is the path of a process's program, by the name that the process
// goes by if its file has several: Debian's redis-server is a link to
// redis-check-rdb, where the kernel's own link leads. Dir is the process's in proc,
// name is what the kernel calls the process.
func executable(dir, name string) (string, bool) {
	link, err := os.Readlink(dir + "/exe")
	if err != nil {
		return "", false // a kernel thread, or not for us to see
	}
	exe, replaced := strings.CutSuffix(link, deletedMark)
	alias := path.Join(path.Dir(exe), name)
	if !isName(name) || name == kernelName(exe) || !path.IsAbs(exe) {
		return exe, true
	}
	root, err := os.OpenRoot(dir + "/root") // a container's links do not lead out of it
	if err != nil {
		return exe, true
	}
	defer root.Close()
	file, err := os.Stat(dir + "/exe")
	if replaced {
		file, err = root.Stat(exe[1:])
	}
	if err != nil {
		return exe, true
	}
	if other, err := root.Stat(alias[1:]); err != nil || !os.SameFile(file, other) {
		return exe, true
	}
	return alias, true
}

// isName reports whether a process's name, which may be anything, names a file.
func isName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}

// kernelName is what the kernel calls a process that runs a program.
func kernelName(exe string) string {
	const most = 15
	base := path.Base(exe)
	return base[:min(len(base), most)]
}
