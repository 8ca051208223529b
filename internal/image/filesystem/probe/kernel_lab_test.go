//go:build lab

package probe_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

// made is a way to make a filesystem and to mount it.
type made struct {
	size    string
	make    []string // the image is added
	options string   // of mount
}

// kernels are the filesystems that the kernel writes and we read.
var kernels = map[string]made{
	"ext4":           {"96M", []string{"mkfs.ext4", "-q"}, ""},
	"ext4-inline":    {"96M", []string{"mkfs.ext4", "-q", "-O", "inline_data"}, ""},
	"ext4-inline512": {"96M", []string{"mkfs.ext4", "-q", "-O", "inline_data", "-I", "512", "-b", "4096"}, ""},
	"ext4-bigalloc":  {"96M", []string{"mkfs.ext4", "-q", "-O", "bigalloc", "-C", "16384"}, ""},
	"ext4-small":     {"96M", []string{"mkfs.ext4", "-q", "-b", "1024", "-I", "128", "-O", "large_dir"}, ""},
	"ext4-no-extent": {"96M", []string{"mkfs.ext4", "-q", "-O", "^extent,^64bit,^dir_index", "-b", "1024"}, ""},
	"ext2":           {"96M", []string{"mkfs.ext2", "-q", "-b", "2048"}, ""},
	"xfs":            {"320M", []string{"mkfs.xfs", "-q", "-m", "reflink=1"}, ""},
	"xfs-small":      {"320M", []string{"mkfs.xfs", "-q", "-b", "size=1024", "-i", "size=512", "-n", "size=4096"}, ""},
	"xfs-large":      {"320M", []string{"mkfs.xfs", "-q", "-i", "size=2048", "-n", "size=65536", "-m", "rmapbt=1"}, ""},
	"btrfs":          {"256M", []string{"mkfs.btrfs", "-q"}, ""},
	"btrfs-zstd":     {"256M", []string{"mkfs.btrfs", "-q", "-n", "4096", "-O", "^no-holes"}, ",compress-force=zstd"},
	"btrfs-lzo":      {"256M", []string{"mkfs.btrfs", "-q", "-n", "65536", "--csum", "xxhash"}, ",compress=lzo"},
	"btrfs-zlib":     {"256M", []string{"mkfs.btrfs", "-q", "--mixed"}, ",compress-force=zlib"},
}

// number gives a number of the environment, or what it is without.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKernel has the kernel write trees at random, and reads them without it. Other
// trees than the usual ones: DROVEWAY_SEED=N, and larger ones: DROVEWAY_CHANGES=800.
func TestKernel(t *testing.T) {
	seed, changes := number(t, "DROVEWAY_SEED", 1), number(t, "DROVEWAY_CHANGES", 150)
	for name, k := range kernels {
		t.Run(name, func(t *testing.T) {
			image := blank(t, k.size)
			disktest.Tool(t, k.make[0], append(k.make[1:], image)...)
			for round := range uint64(2) { // the second finds the disk in use
				disktest.Mounted(t, image, "loop"+k.options, func(at string) {
					w := writer{at: at, r: rand.New(rand.NewPCG(seed, round))}
					w.grow(changes)
				})
			}
			var want map[string]string // of what is on the disk, and in no cache
			disktest.Mounted(t, image, "loop,ro", func(at string) { want = filesystemtest.Folder(t, at) })
			compare(t, image, want)
		})
	}
}

func compare(t *testing.T, image string, want map[string]string) {
	t.Helper()
	v := look(t, image).Volume
	if d := v.Info().Dirty; d != "" {
		t.Errorf("unmounted, it is dirty: %s", d)
	}
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, filesystemtest.Snapshot(t, filesystem.NewTree(root, false), "/")); diff != "" {
		t.Errorf("the volume differs from what the kernel shows (-kernel +volume):\n%s", diff)
	}
}

// writer changes a mounted tree at random.
type writer struct {
	at    string
	r     *rand.Rand
	dirs  []string
	files []string
	made  int
}

// grow makes changes until there are enough. One that the filesystem refuses, as for
// want of room, is not made.
func (w *writer) grow(changes uint64) {
	w.dirs = []string{w.at}
	w.crowd()
	steps := []func(){
		w.file, w.file, w.file, w.write, w.write, w.write, w.write, w.extend, w.extend, w.punch, w.punch, w.reserve,
		w.truncate, w.link, w.symlink, w.folder, w.rename, w.attribute, w.remove, w.copy, w.sync,
	}
	for range changes {
		steps[w.r.IntN(len(steps))]()
	}
}

func (w *writer) name() string {
	w.made++
	n := fmt.Sprintf("%d-%d", w.made, w.r.IntN(1000))
	switch w.r.IntN(8) {
	case 0:
		return n + strings.Repeat("n", 255-len(n))
	case 1:
		return n + " öäü ☃"
	case 2:
		return n + "\\*\n?"
	}
	return n
}

func (w *writer) dir() string { return w.dirs[w.r.IntN(len(w.dirs))] }

// crowd fills a folder with so many names that it needs a tree.
func (w *writer) crowd() {
	dir := filepath.Join(w.at, "crowd"+w.name())
	if os.Mkdir(dir, 0o755) != nil {
		return
	}
	w.dirs = append(w.dirs, dir)
	for i := range 200 + w.r.IntN(1500) {
		name := filepath.Join(dir, fmt.Sprintf("%d-%s", i, strings.Repeat("x", w.r.IntN(100))))
		_ = os.WriteFile(name, nil, 0o644)
		if w.r.IntN(3) == 0 {
			_ = os.Remove(name)
		}
	}
}

// bytes are noise, or something that compresses.
func (w *writer) bytes(most int) []byte {
	b := make([]byte, 1+w.r.IntN(most))
	if w.r.IntN(2) == 0 {
		return bytes.Repeat([]byte{byte(w.made), byte(w.r.Uint32()), 3}, len(b)/3+1)[:len(b)]
	}
	for i := range b {
		b[i] = byte(w.r.Uint32())
	}
	return b
}

// most gives a bound of sizes: most files are small.
func (w *writer) most() int { return []int{50, 150, 400, 3000, 20_000, 300_000}[w.r.IntN(6)] }

func (w *writer) file() {
	name := filepath.Join(w.dir(), w.name())
	if os.WriteFile(name, w.bytes(w.most()), 0o644) == nil {
		w.files = append(w.files, name)
	}
}

// open does something with a file that there is.
func (w *writer) open(do func(f *os.File, size int64)) {
	if len(w.files) == 0 {
		return
	}
	f, err := os.OpenFile(w.files[w.r.IntN(len(w.files))], os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		do(f, info.Size())
	}
}

func (w *writer) write() {
	w.open(func(f *os.File, size int64) { _, _ = f.WriteAt(w.bytes(w.most()), w.r.Int64N(size+100_000)) })
}

// extend writes to several files in turns, so that each has many pieces.
func (w *writer) extend() {
	w.open(func(a *os.File, size int64) {
		w.open(func(b *os.File, other int64) {
			for i := range int64(20) {
				_, _ = a.WriteAt(w.bytes(9000), size+i*12_000)
				_, _ = b.WriteAt(w.bytes(9000), other+i*9000)
				if i%5 == 0 {
					_ = unix.Fdatasync(int(a.Fd()))
				}
			}
		})
	})
}

func (w *writer) punch() {
	w.open(func(f *os.File, size int64) {
		how := []uint32{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE}[w.r.IntN(2)]
		_ = unix.Fallocate(int(f.Fd()), how, w.r.Int64N(size+1), 1+w.r.Int64N(50_000))
	})
}

// reserve makes pieces that are not written yet: they read as zeros.
func (w *writer) reserve() {
	w.open(func(f *os.File, size int64) {
		_ = unix.Fallocate(int(f.Fd()), uint32(w.r.IntN(2)), w.r.Int64N(size+50_000), 1+w.r.Int64N(100_000))
	})
}

func (w *writer) truncate() {
	w.open(func(f *os.File, size int64) { _ = f.Truncate(w.r.Int64N(size + 70_000)) })
}

func (w *writer) link() {
	w.open(func(f *os.File, _ int64) { _ = os.Link(f.Name(), filepath.Join(w.dir(), w.name())) })
}

func (w *writer) symlink() {
	length := []int{1, 59, 60, 61, 155, 400, 1000, 1023}[w.r.IntN(8)]
	_ = os.Symlink(strings.Repeat("t/", length/2+1)[:length], filepath.Join(w.dir(), w.name()))
}

func (w *writer) folder() {
	dir := filepath.Join(w.dir(), w.name())
	if os.Mkdir(dir, 0o755) == nil {
		w.dirs = append(w.dirs, dir)
	}
}

func (w *writer) rename() {
	if len(w.files) == 0 {
		return
	}
	k, to := w.r.IntN(len(w.files)), filepath.Join(w.dir(), w.name())
	if os.Rename(w.files[k], to) == nil {
		w.files[k] = to
	}
}

func (w *writer) attribute() {
	w.open(func(f *os.File, _ int64) {
		_ = unix.Fsetxattr(int(f.Fd()), fmt.Sprintf("user.a%d", w.r.IntN(20)), w.bytes([]int{20, 200, 3000}[w.r.IntN(3)]), 0)
	})
}

func (w *writer) remove() {
	if len(w.files) > 0 {
		_ = os.Remove(w.files[w.r.IntN(len(w.files))])
	}
}

// copy makes a file that shares its blocks with another one, where that can be done.
func (w *writer) copy() {
	w.open(func(f *os.File, size int64) {
		to, err := os.Create(filepath.Join(w.dir(), w.name()))
		if err != nil {
			return
		}
		defer to.Close()
		w.files = append(w.files, to.Name())
		if unix.IoctlFileClone(int(to.Fd()), int(f.Fd())) == nil {
			_, _ = to.WriteAt(w.bytes(5000), w.r.Int64N(size+1))
		}
	})
}

func (w *writer) sync() {
	if f, err := os.Open(w.at); err == nil {
		_ = unix.Syncfs(int(f.Fd()))
		_ = f.Close()
	}
}
