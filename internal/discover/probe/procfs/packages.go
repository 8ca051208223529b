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

// maxTrees bounds of how many trees the Debian database is remembered, which takes some
// 12 bytes a file that is installed in them, and maxIndexed how many files those are.
const (
	maxTrees   = 32
	maxIndexed = 2 * maxPaths
)

const rpmTime = 5 * time.Second

// Packages finds the Debian or RPM package of executables: a container's in the
// container's own database. What was found is remembered until that changes.
type Packages struct {
	proc Proc
	rpm  string // the program; empty: none

	mu    sync.Mutex
	known map[Program]found
	trees map[string]*debian // by mount namespace
}

// found is a package, and the state of the database that it was found in.
type found struct {
	installed
	in debianState
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
	return &Packages{proc: p, rpm: rpm, known: map[Program]found{}, trees: map[string]*debian{}}
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

// Of gives the package of an executable and its version; empty if it is of none. Of a
// tree that is gone it knows what it has found before.
func (k *Packages) Of(ctx context.Context, p Program) (name, version string) {
	k.mu.Lock() // two who look at the same time would read the same database
	defer k.mu.Unlock()
	dir := p.dir
	p.dir = "" // the same program in every process
	got, ok := k.known[p]
	root, err := openTree(dir, p.mounts)
	if err != nil {
		return got.name, got.version
	}
	defer root.Close()
	if now := debianStateOf(root); !ok || got.in != now {
		got = found{k.find(ctx, root, p, dir, now), now}
		k.remember(p, got)
	}
	return got.name, got.version
}

// openTree opens the tree that a process sees, unless the process is another by now.
func openTree(dir, mounts string) (*os.Root, error) {
	root, err := os.OpenRoot(dir + "/root")
	if err != nil {
		return nil, err
	}
	if now, err := os.Readlink(dir + "/ns/mnt"); err != nil || now != mounts {
		root.Close()
		return nil, os.ErrNotExist
	}
	return root, nil
}

func (k *Packages) remember(key Program, got found) {
	if len(k.known) >= maxPackages {
		clear(k.known)
	}
	k.known[key] = got
}

func (k *Packages) find(ctx context.Context, root *os.Root, p Program, dir string, now debianState) installed {
	if got := k.debian(root, p.mounts, now).find(root, p.path); got.name != "" {
		return got
	}
	if k.rpm == "" || filepath.Base(dir) != "self" { // rpm asks about our own files
		return installed{}
	}
	return k.askRPM(ctx, p.path)
}

// debian gives the database of a tree as it is now.
func (k *Packages) debian(root *os.Root, mounts string, now debianState) *debian {
	if d := k.trees[mounts]; d != nil && d.state == now {
		return d
	}
	d := readDebian(root, now)
	delete(k.trees, mounts)
	indexed := len(d.hashes)
	for _, other := range k.trees {
		indexed += len(other.hashes)
	}
	if len(k.trees) >= maxTrees || indexed > maxIndexed {
		clear(k.trees)
	}
	k.trees[mounts] = d
	return d
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
