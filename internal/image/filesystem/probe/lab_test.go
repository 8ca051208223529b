//go:build lab

package probe_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

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
	disktest.Tool(t, "truncate", "-s", size, image)
	return image
}

func TestMadeFromFolder(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, k := range []struct {
		name, kind, size string
		make             func(t *testing.T, image string)
	}{
		{"ext2", "ext2", "64M", func(t *testing.T, i string) { disktest.Tool(t, "mkfs.ext2", "-q", "-d", src, "-b", "1024", i) }},
		{"ext3", "ext3", "64M", func(t *testing.T, i string) { disktest.Tool(t, "mkfs.ext3", "-q", "-d", src, i) }},
		{"ext4", "ext4", "64M", func(t *testing.T, i string) {
			disktest.Tool(t, "mkfs.ext4", "-q", "-L", "root", "-d", src, i)
		}},
		{"ext4-meta_bg", "ext4", "300M", func(t *testing.T, i string) {
			disktest.Tool(t, "mkfs.ext4", "-q", "-O", "meta_bg,^resize_inode", "-b", "1024", "-d", src, i)
		}},
		{"btrfs", "btrfs", "200M", func(t *testing.T, i string) { disktest.Tool(t, "mkfs.btrfs", "-q", "--rootdir", src, i) }},
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
	disktest.Tool(t, "mkntfs", "-q", "-F", "-L", "system", image)
	at := t.TempDir()
	disktest.Tool(t, "ntfs-3g", image, at)
	disktest.Tool(t, "cp", "-r", src+"/.", at)
	disktest.Tool(t, "umount", at)
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
			disktest.Tool(t, "mksquashfs", src, image, "-comp", how, "-quiet", "-no-progress", "-processors", "1")
			filesystemtest.Same(t, look(t, image).Volume, src)
		})
	}
	t.Run("no fragments", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "image")
		disktest.Tool(t, "mksquashfs", src, image, "-no-fragments", "-noI", "-noD", "-b", "4096", "-quiet", "-no-progress")
		filesystemtest.Same(t, look(t, image).Volume, src)
	})
}

func TestISO(t *testing.T) {
	src := filesystemtest.Source(t)
	image := filepath.Join(t.TempDir(), "image")
	disktest.Tool(t, "genisoimage", "-quiet", "-R", "-V", "CIDATA", "-o", image, src)
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
	disktest.Tool(t, "genisoimage", "-quiet", "-J", "-o", image, src)
	filesystemtest.Same(t, look(t, image).Volume, src)
}

func TestXFS(t *testing.T) {
	src := filesystemtest.Source(t)
	for name, args := range map[string][]string{
		"v5": nil, "small blocks": {"-b", "size=1024"}, "large folders": {"-n", "size=16384"},
	} {
		t.Run(name, func(t *testing.T) {
			image := blank(t, "320M")
			disktest.Tool(t, "mkfs.xfs", append(append([]string{"-q"}, args...), image)...)
			disktest.Mounted(t, image, "loop", func(at string) {
				disktest.Tool(t, "cp", "-a", src+"/.", at)
				fragment(t, filepath.Join(at, "fragments"))
				disktest.Tool(t, "cp", filepath.Join(at, "fragments"), filepath.Join(src, "fragments"))
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
			disktest.Tool(t, "mkfs."+kind, append(args, image)...)
			// Some turns of the log.
			for range 3 {
				disktest.Mounted(t, image, "loop", func(at string) {
					for _, name := range []string{"a", "b", "c"} {
						disktest.Tool(t, "cp", "-a", "/etc", filepath.Join(at, name))
						disktest.Tool(t, "sync", "-f", at)
						disktest.Tool(t, "rm", "-rf", filepath.Join(at, name))
					}
					disktest.Tool(t, "cp", "-a", "/etc", filepath.Join(at, "last"))
					disktest.Tool(t, "sync", "-f", at)
					disktest.Tool(t, "cp", image, busy)
					disktest.Tool(t, "rm", "-rf", filepath.Join(at, "last"))
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
			disktest.Tool(t, "mkfs.xfs", append(append([]string{"-q", "-p", proto}, args...), image)...)
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
	disktest.Tool(t, "mkfs.ext4", "-q", image)
	disktest.Mounted(t, image, "loop", func(at string) {
		disktest.Tool(t, "cp", "-a", src+"/.", at)
		fragment(t, filepath.Join(at, "fragments"))
		disktest.Tool(t, "cp", filepath.Join(at, "fragments"), filepath.Join(src, "fragments"))
	})
	filesystemtest.Same(t, look(t, image).Volume, src)
}

func TestBtrfsCompression(t *testing.T) {
	src := filesystemtest.Source(t)
	for _, how := range []string{"zlib", "lzo", "zstd"} {
		t.Run(how, func(t *testing.T) {
			image := blank(t, "200M")
			disktest.Tool(t, "mkfs.btrfs", "-q", image)
			disktest.Mounted(t, image, "loop,compress-force="+how, func(at string) { disktest.Tool(t, "cp", "-a", src+"/.", at) })
			filesystemtest.Same(t, look(t, image).Volume, src)
		})
	}
}

func TestBtrfsSubvolumes(t *testing.T) {
	src := filesystemtest.Source(t)
	image := blank(t, "200M")
	disktest.Tool(t, "mkfs.btrfs", "-q", image)
	disktest.Mounted(t, image, "loop", func(at string) {
		disktest.Tool(t, "btrfs", "subvolume", "create", filepath.Join(at, "@"))
		disktest.Tool(t, "btrfs", "subvolume", "create", filepath.Join(at, "@", "inner"))
		disktest.Tool(t, "cp", "-a", src+"/.", filepath.Join(at, "@", "inner"))
		disktest.Tool(t, "btrfs", "subvolume", "set-default", filepath.Join(at, "@", "inner"))
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
			disktest.Tool(t, "mkfs.vfat", "-F", bits, "-n", "ESP", image)
			for _, name := range []string{"etc", "empty", "small", "deep", "large", "text", "many", "holes"} {
				disktest.Tool(t, "mcopy", "-s", "-i", image, filepath.Join(src, name), "::")
			}
			found := look(t, image)
			if found.Label != "ESP" || found.UUID == "" {
				t.Errorf("label %q, UUID %q", found.Label, found.UUID)
			}
			filesystemtest.Same(t, found.Volume, src)
		})
	}
}
