package procfs

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// The database of dpkg(1): a list of files for each package, and one file with
// the state of all of them.
const (
	debianLists  = "var/lib/dpkg/info"
	debianStatus = "var/lib/dpkg/status"
	maxList      = 8 << 20  // bytes
	maxStatus    = 64 << 20 // bytes
)

// debian looks a path up. The tree may be a container's, which we do not trust:
// the root keeps its links inside, and only ordinary files are read.
func debian(root *os.Root, executable string) installed {
	name := debianPackage(root, executable)
	if name == "" {
		return installed{}
	}
	f, ok := ordinary(root, debianStatus)
	if !ok {
		return installed{name: Text(name)}
	}
	defer f.Close()
	return installed{Text(name), Text(debianVersion(io.LimitReader(f, maxStatus), name))}
}

func debianPackage(root *os.Root, executable string) string {
	d, err := root.Open(debianLists)
	if err != nil {
		return ""
	}
	names, _ := d.Readdirnames(-1)
	d.Close()
	wanted := merged(executable)
	var text bytes.Buffer
	for _, n := range names {
		name, ok := strings.CutSuffix(n, ".list")
		if ok && listed(root, path.Join(debianLists, n), wanted, &text) {
			name, _, _ = strings.Cut(name, ":") // of one architecture
			return name
		}
	}
	return ""
}

// merged gives the names that a list may have for a file: with and without /usr,
// since the directories became one.
func merged(executable string) [][]byte {
	other, ok := strings.CutPrefix(executable, "/usr/")
	if ok {
		other = "/" + other
	} else {
		other = "/usr" + executable
	}
	return [][]byte{[]byte("\n" + executable + "\n"), []byte("\n" + other + "\n")}
}

func listed(root *os.Root, list string, wanted [][]byte, text *bytes.Buffer) bool {
	f, ok := ordinary(root, list)
	if !ok {
		return false
	}
	defer f.Close()
	text.Reset()
	text.WriteByte('\n')
	if _, err := text.ReadFrom(io.LimitReader(f, maxList)); err != nil {
		return false
	}
	for _, w := range wanted {
		if bytes.Contains(text.Bytes(), w) {
			return true
		}
	}
	return false
}

func ordinary(root *os.Root, name string) (*os.File, bool) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, false
	}
	return f, true
}

// debianVersion finds a package's version among the paragraphs of the status
// file.
func debianVersion(r io.Reader, name string) string {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	here := false
	for lines.Scan() {
		line := lines.Bytes()
		if value, ok := bytes.CutPrefix(line, []byte("Package: ")); ok {
			here = string(value) == name
		}
		if value, ok := bytes.CutPrefix(line, []byte("Version: ")); ok && here {
			return string(value)
		}
	}
	return ""
}
