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
	known map[program]installed
}

// program is an executable in a mount namespace.
type program struct{ mounts, path string }

type installed struct{ name, version string }

// NewPackages looks things up for the processes of a proc file system.
func NewPackages(p Proc) *Packages {
	rpm, _ := exec.LookPath("rpm") // not an RPM system
	return &Packages{proc: p, rpm: rpm, known: map[program]installed{}}
}

// Of gives the package of a process's executable and its version; empty if it is
// of none.
func (k *Packages) Of(ctx context.Context, pid int, executable string) (name, version string) {
	if !filepath.IsAbs(executable) {
		return "", ""
	}
	dir := filepath.Join(k.proc.root, strconv.Itoa(pid))
	mounts, err := os.Readlink(dir + "/ns/mnt")
	if err != nil {
		return "", ""
	}
	key := program{mounts, executable}
	if got, ok := k.recall(key); ok {
		return got.name, got.version
	}
	got := k.find(ctx, dir, key)
	k.remember(key, got)
	return got.name, got.version
}

func (k *Packages) recall(key program) (installed, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	got, ok := k.known[key]
	return got, ok
}

func (k *Packages) remember(key program, got installed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxPackages {
		clear(k.known)
	}
	k.known[key] = got
}

func (k *Packages) find(ctx context.Context, dir string, key program) installed {
	root, err := os.OpenRoot(dir + "/root")
	if err != nil {
		return installed{}
	}
	defer root.Close()
	if got := debian(root, key.path); got.name != "" {
		return got
	}
	own, err := os.Readlink(filepath.Join(k.proc.root, "self", "ns", "mnt"))
	if err != nil || own != key.mounts || k.rpm == "" {
		return installed{}
	}
	return k.askRPM(ctx, key.path)
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
