//go:build lab

package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/luks/lukstest"
	"github.com/droveway/droveway/internal/image/repair"
)

// pass opens the volumes of these tests.
const pass = "correct horse battery"

// Where things are on a disk with an encrypted root, in MiB: /boot, and behind it what
// is encrypted.
const (
	bootAt, bootSize     = 1, 8
	lockedAt, lockedSize = bootAt + bootSize, 72
	rootSize             = 40
)

// whole is a group of LVM with one volume that begins where the data do.
const whole = `contents = "Text Format Volume Group"
version = 1
lab {
id = "%s"
seqno = 2
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192
max_lv = 0
max_pv = 0
physical_volumes {
pv0 { id = "%s" device = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 11 }
}
logical_volumes {
root { id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA" status = ["READ", "WRITE", "VISIBLE"] segment_count = 1
segment1 { start_extent = 0 extent_count = 10 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
} } }
`

// lockedLayout is one way to encrypt a root.
type lockedLayout struct {
	name    string
	spec    string // of the root, in fstab
	at      int    // of the root in what is encrypted, in MiB
	group   string // that the root is in
	encrypt func(t *testing.T, plain string) string
}

var lockedLayouts = []lockedLayout{
	{"LUKS 1", "/dev/mapper/sda2_crypt", 0, "", func(t *testing.T, plain string) string {
		b, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "luks")
		disktest.Tree(t, filepath.Dir(file), map[string]string{"luks": string(lukstest.V1(pass, b))})
		return file
	}},
	{"LVM on LUKS 2", "/dev/mapper/lab-root", 1, whole, luks2},
}

// luks2 has cryptsetup make a volume, and QEMU fill it: the kernel's part of
// cryptsetup is not needed for that.
func luks2(t *testing.T, plain string) string {
	t.Helper()
	dir := t.TempDir()
	file, key := filepath.Join(dir, "luks"), filepath.Join(dir, "key")
	disktest.Tree(t, dir, map[string]string{"key": pass})
	disktest.Tool(t, "truncate", "-s", "8M", file)
	disktest.Tool(t, "cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", key, file)
	info, err := os.Stat(plain)
	if err != nil {
		t.Fatal(err)
	}
	const payload = 2 << 20 // where cryptsetup lets the contents begin
	if err := os.Truncate(file, payload+info.Size()); err != nil {
		t.Fatal(err)
	}
	disktest.Tool(t, "qemu-img", "convert", "-n", "--object", "secret,id=s,file="+key, "-f", "raw", plain, "--target-image-opts", "driver=luks,key-secret=s,file.driver=file,file.filename="+file)
	disktest.Tool(t, "cryptsetup", "convert", "-q", "--type", "luks2", file)
	disktest.Tool(t, "cryptsetup", "luksConvertKey", "-q", "--key-file", key, "--pbkdf", "argon2id", "--pbkdf-memory", "32768", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1", file)
	return file
}

// disk makes one as an installer does: /boot for all to read, the rest encrypted.
func (l *lockedLayout) disk(t *testing.T) string {
	t.Helper()
	dir, plain, disk := t.TempDir(), filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "disk.raw")
	files := maps.Clone(small)
	files["boot/.keep"] = ""
	files["etc/fstab"] = l.spec + " / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n/dev/sdb1 /data ext4 defaults 0 2\n"
	files["etc/crypttab"] = "sda2_crypt /dev/sda2 none luks,discard\n"
	disktest.Tree(t, dir, files)
	disktest.Tool(t, "truncate", "-s", fmt.Sprintf("%dM", l.at+rootSize+4), plain)
	if l.group != "" {
		disktest.Group(t, "lab", l.group, disktest.Loop(t, plain))
	}
	disktest.Tool(t, "mkfs.ext4", "-q", "-E", fmt.Sprintf("offset=%d", l.at<<20), "-d", dir, plain, fmt.Sprintf("%dM", rootSize))
	disktest.Tool(t, "truncate", "-s", fmt.Sprintf("%dM", lockedAt+lockedSize+1), disk)
	disktest.Tool(t, "sh", "-c", fmt.Sprintf("printf 'label: dos\nstart=%dMiB, size=%dMiB, type=83, bootable\nstart=%dMiB, size=%dMiB, type=83\n' | sfdisk -q %s", bootAt, bootSize, lockedAt, lockedSize, disk))
	disktest.Tool(t, "mkfs.ext4", "-q", "-E", fmt.Sprintf("offset=%d", bootAt<<20), disk, fmt.Sprintf("%dM", bootSize))
	disktest.Tool(t, "dd", "if="+l.encrypt(t, plain), "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", lockedAt), "conv=notrunc", "status=none")
	return disk
}

func keysOf(t *testing.T, passphrase string) []luks.Key {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	disktest.Tree(t, filepath.Dir(file), map[string]string{"key": passphrase + "\n"})
	keys, err := luks.ReadKeys([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// root gives the root of a repaired disk, and the key of the volume it is in.
func (l *lockedLayout) root(t *testing.T, overlay string) (file string, key []byte) {
	t.Helper()
	raw, file := filepath.Join(t.TempDir(), "flat.raw"), filepath.Join(t.TempDir(), "root")
	disktest.Tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := luks.Open(io.NewSectionReader(f, lockedAt<<20, lockedSize<<20), lockedSize<<20)
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Unlock(t.Context(), []byte(pass))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, rootSize<<20)
	if _, err := v.ReadAt(b, int64(l.at)<<20); err != nil {
		t.Fatal(err)
	}
	disktest.Tree(t, filepath.Dir(file), map[string]string{"root": string(b)})
	disktest.Tool(t, "e2fsck", "-fn", file)
	return file, v.Mapping.Key
}

// TestLocked repairs roots that are encrypted, by the key that is given, which is left
// nowhere. SYSTEMS 5.6, 5.9
func TestLocked(t *testing.T) {
	for _, l := range lockedLayouts {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			disk, keys := l.disk(t), keysOf(t, pass)
			before := hash(t, disk)
			report, plan := planWith(t, disk, repair.Options{}, keys...)
			id := report.Volumes[1].UUID
			var said bytes.Buffer
			overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
			a := New(Config{Kernel: kernelDir(t), Accel: "tcg", User: "nobody", Log: slog.New(slog.NewJSONHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			r := Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, Keys: keys, Progress: func(step string, _, _ int) { said.WriteString(step) }}
			result, err := a.Repair(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if hash(t, disk) != before {
				t.Error("the image was changed")
			}
			root, key := l.root(t, overlay)
			for file, want := range map[string]string{
				"/etc/fstab":    l.spec + " / ext4 defaults 0 1\nUUID=" + report.Volumes[0].UUID + " /boot ext4 defaults 0 2\n/dev/sdb1 /data ext4 defaults,nofail 0 2\n",
				"/etc/crypttab": "sda2_crypt UUID=" + id + " none luks,discard\n",
			} {
				if got := cat(t, root, file); got != want {
					t.Errorf("%s is\n%s", file, got)
				}
			}
			words, err := json.Marshal([]any{result, report, plan})
			if err != nil {
				t.Fatal(err)
			}
			said.Write(words)
			written, err := os.ReadFile(overlay)
			if err != nil {
				t.Fatal(err)
			}
			for place, b := range map[string][]byte{"what is said": said.Bytes(), "the overlay": written, "what %#v shows": fmt.Appendf(nil, "%#v %+v", r, r)} {
				for what, secret := range map[string][]byte{"passphrase": []byte(pass), "key": key, "key in figures": fmt.Appendf(nil, "%x", key)} {
					if bytes.Contains(b, secret) {
						t.Errorf("%s has the %s", place, what)
					}
				}
			}
		})
	}
}
