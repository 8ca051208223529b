package procfs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxPackages bounds what is remembered; then it is looked up again.
const maxPackages = 4096

const rpmTime = 5 * time.Second

// Packages finds the Debian or RPM package of executables, each once: a
// container's in the container's own database.
type Packages struct {
	proc Proc
	rpm  string // the program; empty: none

	mu    sync.Mutex
	known map[Program]installed
}

// Program is an executable in a mount namespace.
type Program struct {
	mounts, path string
	dir          string // in proc, of a process that sees it
}

type installed struct{ name, version string }

// NewPackages looks things up for the processes of a proc file system.
func NewPackages(p Proc) *Packages {
	rpm, _ := exec.LookPath("rpm") // not an RPM system
	return &Packages{proc: p, rpm: rpm, known: map[Program]installed{}}
}

// Program names the executable of a process, so that its package can be looked
// up when the process is gone. False: it has none, or we may not see it.
func (k *Packages) Program(pid int, executable string) (Program, bool) {
	if !filepath.IsAbs(executable) {
		return Program{}, false
	}
	dir := filepath.Join(k.proc.root, strconv.Itoa(pid))
	mounts, err := os.Readlink(dir + "/ns/mnt")
	if err != nil {
		return Program{}, false
	}
	if own, err := os.Readlink(filepath.Join(k.proc.root, "self", "ns", "mnt")); err == nil && own == mounts {
		dir = filepath.Join(k.proc.root, "self")
	}
	return Program{mounts, executable, dir}, true
}

// Of gives the package of an executable and its version; empty if it is of none.
func (k *Packages) Of(ctx context.Context, p Program) (name, version string) {
	dir := p.dir
	p.dir = "" // the same program in every process
	got, ok := k.recall(p)
	if !ok {
		got = k.find(ctx, dir, p.path)
		k.remember(p, got)
	}
	return got.name, got.version
}

func (k *Packages) recall(key Program) (installed, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	got, ok := k.known[key]
	return got, ok
}

func (k *Packages) remember(key Program, got installed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxPackages {
		clear(k.known)
	}
	k.known[key] = got
}

func (k *Packages) find(ctx context.Context, dir, path string) installed {
	root, err := os.OpenRoot(dir + "/root")
	if err != nil {
		return installed{}
	}
	defer root.Close()
	if got := debian(root, path); got.name != "" {
		return got
	}
	if k.rpm == "" || filepath.Base(dir) != "self" { // rpm asks about our own files
		return installed{}
	}
	return k.askRPM(ctx, path)
}

// askRPM asks rpm(8), whose database has had four formats.
func (k *Packages) askRPM(ctx context.Context, path string) installed {
	ctx, cancel := context.WithTimeout(ctx, rpmTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, k.rpm, "-qf", "--queryformat", `%{NAME}\t%{VERSION}-%{RELEASE}\n`, "--", path).Output()
	if err != nil {
		return installed{} // of no package
	}
	line, _, _ := strings.Cut(string(out), "\n")
	name, version, _ := strings.Cut(line, "\t")
	return installed{Text(name), Text(version)}
}
