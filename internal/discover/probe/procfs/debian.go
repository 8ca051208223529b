package procfs

import (
	"bufio"
	"bytes"
	"hash/maphash"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

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

// maxPaths bounds the paths of one index; what the lists name beyond is looked for in the
// lists themselves.
const maxPaths = 1 << 20

// Bounds of what else is kept of a database: a distribution has fewer packages, each of a
// handful of files, and shorter words.
const (
	maxListed = 1 << 16
	maxNames  = 16 * maxListed
	maxWord   = 256 // bytes
)

// debianState tells whether the database may have changed: dpkg(1) writes each file anew
// and renames it into its place.
type debianState struct {
	lists, status       time.Time // of the last change
	listsID, statusID   uint64    // inodes
	listsLen, statusLen int64
}

func debianStateOf(root *os.Root) (s debianState) {
	if info, err := root.Stat(debianLists); err == nil {
		s.lists, s.listsID, s.listsLen = info.ModTime(), inode(info), info.Size()
	}
	if info, err := root.Stat(debianStatus); err == nil {
		s.status, s.statusID, s.statusLen = info.ModTime(), inode(info), info.Size()
	}
	return s
}

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// debian is what the database of one tree said when it was read. The tree may be a
// container's, which we do not trust: the root keeps its links inside, and only ordinary
// files are read.
type debian struct {
	state    debianState
	seed     maphash.Seed
	hashes   []uint64 // of the paths, sorted; a path itself would take eight times the room
	owners   []uint32 // of each of them, the number of its list
	lists    []string // names of the files
	whole    bool     // the index has all paths
	versions map[string]string
}

func readDebian(root *os.Root, state debianState) *debian {
	d := &debian{state: state, seed: maphash.MakeSeed(), whole: true}
	d.lists = debianListNames(root)
	var text bytes.Buffer
	for n, name := range d.lists {
		if !readList(root, name, &text) {
			continue
		}
		for line := range bytes.Lines(text.Bytes()) {
			if len(d.hashes) == maxPaths {
				d.whole = false
				break
			}
			d.hashes = append(d.hashes, maphash.Bytes(d.seed, bytes.TrimSuffix(line, []byte("\n"))))
			d.owners = append(d.owners, uint32(n))
		}
	}
	sort.Sort(byHash{d})
	d.versions = readVersions(root)
	return d
}

// byHash sorts the index.
type byHash struct{ *debian }

func (b byHash) Len() int           { return len(b.hashes) }
func (b byHash) Less(i, j int) bool { return b.hashes[i] < b.hashes[j] }
func (b byHash) Swap(i, j int) {
	b.hashes[i], b.hashes[j] = b.hashes[j], b.hashes[i]
	b.owners[i], b.owners[j] = b.owners[j], b.owners[i]
}

func debianListNames(root *os.Root) (lists []string) {
	d, err := root.Open(debianLists)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxNames)
	for _, n := range names {
		if strings.HasSuffix(n, ".list") && len(lists) < maxListed {
			lists = append(lists, n)
		}
	}
	return lists
}

// find looks a path up.
func (d *debian) find(root *os.Root, executable string) installed {
	list, ok := d.listOf(root, executable)
	if !ok {
		return installed{}
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(list, ".list"), ":") // of one architecture
	return installed{Text(name), Text(d.versions[name])}
}

func (d *debian) listOf(root *os.Root, executable string) (string, bool) {
	wanted := merged(executable)
	for _, w := range wanted {
		if n, ok := slices.BinarySearch(d.hashes, maphash.String(d.seed, w)); ok {
			return d.lists[d.owners[n]], true
		}
	}
	if d.whole {
		return "", false
	}
	var text bytes.Buffer
	for _, list := range d.lists {
		if !readList(root, list, &text) {
			continue
		}
		for line := range bytes.Lines(text.Bytes()) {
			if slices.Contains(wanted, string(bytes.TrimSuffix(line, []byte("\n")))) {
				return list, true
			}
		}
	}
	return "", false
}

// merged gives the names that a list may have for a file: with and without /usr,
// since the directories became one.
func merged(executable string) []string {
	other, ok := strings.CutPrefix(executable, "/usr/")
	if ok {
		other = "/" + other
	} else {
		other = "/usr" + executable
	}
	return []string{executable, other}
}

// readList reads a list whose lines are whole.
func readList(root *os.Root, name string, text *bytes.Buffer) bool {
	f, ok := ordinary(root, path.Join(debianLists, name))
	if !ok {
		return false
	}
	defer f.Close()
	text.Reset()
	_, err := text.ReadFrom(io.LimitReader(f, maxList))
	if end := bytes.LastIndexByte(text.Bytes(), '\n'); err == nil && end < text.Len() {
		text.Truncate(end + 1)
	}
	return err == nil
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

// readVersions finds the versions of the packages among the paragraphs of the status file.
func readVersions(root *os.Root) map[string]string {
	f, ok := ordinary(root, debianStatus)
	if !ok {
		return nil
	}
	defer f.Close()
	return debianVersions(io.LimitReader(f, maxStatus))
}

func debianVersions(r io.Reader) map[string]string {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	all, name := map[string]string{}, ""
	for lines.Scan() {
		line := lines.Bytes()
		if value, ok := bytes.CutPrefix(line, []byte("Package: ")); ok {
			name = string(value)
		}
		value, ok := bytes.CutPrefix(line, []byte("Version: "))
		if _, twice := all[name]; ok && !twice && len(all) < maxListed && len(name)+len(value) <= maxWord { // twice: of another architecture
			all[name] = string(value)
		}
	}
	return all
}
