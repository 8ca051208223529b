//go:build lab

package probe_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

// tool runs a program and gives what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func look(t *testing.T, image string) probe.Found {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	found := probe.Look(f, info.Size())
	if found.Err != nil {
		t.Fatal(found.Err)
	}
	return found
}

func blank(t *testing.T, size string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	tool(t, "truncate", "-s", size, image)
	return image
}

func TestMadeFromFolder(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, k := range []struct {
		name, kind, size string
		make             func(t *testing.T, image string)
	}{
		{"ext2", "ext2", "64M", func(t *testing.T, i string) { tool(t, "mkfs.ext2", "-q", "-d", src, "-b", "1024", i) }},
		{"ext3", "ext3", "64M", func(t *testing.T, i string) { tool(t, "mkfs.ext3", "-q", "-d", src, i) }},
		{"ext4", "ext4", "64M", func(t *testing.T, i string) {
			tool(t, "mkfs.ext4", "-q", "-L", "root", "-d", src, i)
		}},
		{"ext4-meta_bg", "ext4", "300M", func(t *testing.T, i string) {
			tool(t, "mkfs.ext4", "-q", "-O", "meta_bg,^resize_inode", "-b", "1024", "-d", src, i)
		}},
		{"btrfs", "btrfs", "200M", func(t *testing.T, i string) { tool(t, "mkfs.btrfs", "-q", "--rootdir", src, i) }},
	} {
		t.Run(k.name, func(t *testing.T) {
			image := blank(t, k.size)
			k.make(t, image)
			found := look(t, image)
			if found.Kind != k.kind || found.Volume == nil {
				t.Fatalf("it holds %q, want %q", found.Kind, k.kind)
			}
			filesystemtest.Same(t, found.Volume, src)
		})
	}
}

func TestNTFS(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, link := range []string{"short", "long", "absolute"} { // they need a filter of Windows
		if err := os.Remove(filepath.Join(src, link)); err != nil {
			t.Fatal(err)
		}
	}
	image := blank(t, "64M")
	tool(t, "mkntfs", "-q", "-F", "-L", "system", image)
	at := t.TempDir()
	tool(t, "ntfs-3g", image, at)
	tool(t, "cp", "-r", src+"/.", at)
	tool(t, "umount", at)
	found := look(t, image)
	if found.Label != "system" || found.Volume.Info().Dirty != "" {
		t.Errorf("%+v", found.Volume.Info())
	}
	filesystemtest.Same(t, found.Volume, src)
}

func TestSquashfs(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, how := range []string{"gzip", "lzo", "xz", "lz4", "zstd"} {
		t.Run(how, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			tool(t, "mksquashfs", src, image, "-comp", how, "-quiet", "-no-progress", "-processors", "1")
			filesystemtest.Same(t, look(t, image).Volume, src)
		})
	}
	t.Run("no fragments", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "image")
		tool(t, "mksquashfs", src, image, "-no-fragments", "-noI", "-noD", "-b", "4096", "-quiet", "-no-progress")
		filesystemtest.Same(t, look(t, image).Volume, src)
	})
}

func TestISO(t *testing.T) {
	src := filesystemtest.Source(t)
	image := filepath.Join(t.TempDir(), "image")
	tool(t, "genisoimage", "-quiet", "-R", "-V", "CIDATA", "-o", image, src)
	found := look(t, image)
	if found.Label != "CIDATA" {
		t.Errorf("label %q", found.Label)
	}
	filesystemtest.Same(t, found.Volume, src)
	for _, link := range []string{"short", "long", "absolute"} { // Joliet has none
		if err := os.Remove(filepath.Join(src, link)); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "genisoimage", "-quiet", "-J", "-o", image, src)
	filesystemtest.Same(t, look(t, image).Volume, src)
}

// mounted makes a filesystem, and fills it through the kernel.
func mounted(t *testing.T, image, options string, fill func(at string)) {
	t.Helper()
	at := t.TempDir()
	tool(t, "mount", "-o", "loop"+options, image, at)
	defer tool(t, "umount", at)
	fill(at)
}

func TestXFS(t *testing.T) {
	src := filesystemtest.Source(t)
	for name, args := range map[string][]string{
		"v5": nil, "small blocks": {"-b", "size=1024"}, "large folders": {"-n", "size=16384"},
	} {
		t.Run(name, func(t *testing.T) {
			image := blank(t, "320M")
			tool(t, "mkfs.xfs", append(append([]string{"-q"}, args...), image)...)
			mounted(t, image, "", func(at string) {
				tool(t, "cp", "-a", src+"/.", at)
				fragment(t, filepath.Join(at, "fragments"))
				tool(t, "cp", filepath.Join(at, "fragments"), filepath.Join(src, "fragments"))
			})
			filesystemtest.Same(t, look(t, image).Volume, src)
		})
	}
}

// TestDirty copies filesystems while they are mounted, as a snapshot of a running
// machine does.
func TestDirty(t *testing.T) {
	for kind, args := range map[string][]string{"xfs": {"-q"}, "ext4": {"-q"}} {
		t.Run(kind, func(t *testing.T) {
			image, busy := blank(t, "320M"), filepath.Join(t.TempDir(), "busy")
			tool(t, "mkfs."+kind, append(args, image)...)
			// Some turns of the log.
			for range 3 {
				mounted(t, image, "", func(at string) {
					for _, name := range []string{"a", "b", "c"} {
						tool(t, "cp", "-a", "/etc", filepath.Join(at, name))
						tool(t, "sync", "-f", at)
						tool(t, "rm", "-rf", filepath.Join(at, name))
					}
					tool(t, "cp", "-a", "/etc", filepath.Join(at, "last"))
					tool(t, "sync", "-f", at)
					tool(t, "cp", image, busy)
					tool(t, "rm", "-rf", filepath.Join(at, "last"))
				})
				if d := look(t, image).Volume.Info().Dirty; d != "" {
					t.Errorf("unmounted, it is dirty: %s", d)
				}
				if look(t, busy).Volume.Info().Dirty == "" {
					t.Error("mounted, it is clean")
				}
			}
		})
	}
}

// TestOldXFS fills version 4 through a prototype, as kernels no longer mount it.
func TestOldXFS(t *testing.T) {
	src := filesystemtest.Source(t)
	if err := os.Remove(filepath.Join(src, "long")); err != nil { // too long for a line of it
		t.Fatal(err)
	}
	proto := filepath.Join(t.TempDir(), "proto")
	text := "/dev/null\n0 0\nd--755 0 0\n" + prototype(t, src) + "$\n"
	if err := os.WriteFile(proto, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"v4": {"-m", "crc=0"}, "without types": {"-m", "crc=0", "-n", "ftype=0"}} {
		t.Run(name, func(t *testing.T) {
			image := blank(t, "320M")
			tool(t, "mkfs.xfs", append(append([]string{"-q", "-p", proto}, args...), image)...)
			filesystemtest.Same(t, look(t, image).Volume, src)
		})
	}
}

func prototype(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			text.WriteString(e.Name() + " d--755 0 0\n" + prototype(t, full) + "$\n")
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(full)
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString(e.Name() + " l--777 0 0 " + target + "\n")
		default:
			text.WriteString(e.Name() + " ---644 0 0 " + full + "\n")
		}
	}
	return text.String()
}

// fragment makes a file of so many extents that they need a tree.
func fragment(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(700) {
		if _, err := f.WriteAt([]byte{byte(i), 1, 2}, i*16384); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExtFragments(t *testing.T) {
	src := filesystemtest.Source(t)
	image := blank(t, "64M")
	tool(t, "mkfs.ext4", "-q", image)
	mounted(t, image, "", func(at string) {
		tool(t, "cp", "-a", src+"/.", at)
		fragment(t, filepath.Join(at, "fragments"))
		tool(t, "cp", filepath.Join(at, "fragments"), filepath.Join(src, "fragments"))
	})
	filesystemtest.Same(t, look(t, image).Volume, src)
}

func TestBtrfsCompression(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, how := range []string{"zlib", "lzo", "zstd"} {
		t.Run(how, func(t *testing.T) {
			image := blank(t, "200M")
			tool(t, "mkfs.btrfs", "-q", image)
			mounted(t, image, ",compress-force="+how, func(at string) { tool(t, "cp", "-a", src+"/.", at) })
			filesystemtest.Same(t, look(t, image).Volume, src)
		})
	}
}

func TestBtrfsSubvolumes(t *testing.T) {
	src := filesystemtest.Source(t)
	image := blank(t, "200M")
	tool(t, "mkfs.btrfs", "-q", image)
	mounted(t, image, "", func(at string) {
		tool(t, "btrfs", "subvolume", "create", filepath.Join(at, "@"))
		tool(t, "btrfs", "subvolume", "create", filepath.Join(at, "@", "inner"))
		tool(t, "cp", "-a", src+"/.", filepath.Join(at, "@", "inner"))
		tool(t, "btrfs", "subvolume", "set-default", filepath.Join(at, "@", "inner"))
	})
	v := look(t, image).Volume
	filesystemtest.Same(t, v, src)
	n, err := v.(filesystem.Subvolumes).Subvolume("@/inner")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := filesystem.NewTree(n, false).ReadFile("short", 100); err != nil || string(b) != "ID=test\n" {
		t.Errorf("short of @/inner is %q, %v", b, err)
	}
}

func TestFAT(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, link := range []string{"short", "long", "absolute"} { // FAT has none
		if err := os.Remove(filepath.Join(src, link)); err != nil {
			t.Fatal(err)
		}
	}
	for bits, size := range map[string]string{"12": "15M", "16": "64M", "32": "300M"} {
		t.Run(bits, func(t *testing.T) {
			image := blank(t, size)
			tool(t, "mkfs.vfat", "-F", bits, "-n", "ESP", image)
			for _, name := range []string{"etc", "empty", "small", "deep", "large", "text", "many", "holes"} {
				tool(t, "mcopy", "-s", "-i", image, filepath.Join(src, name), "::")
			}
			found := look(t, image)
			if found.Label != "ESP" || found.UUID == "" {
				t.Errorf("label %q, UUID %q", found.Label, found.UUID)
			}
			filesystemtest.Same(t, found.Volume, src)
		})
	}
}
