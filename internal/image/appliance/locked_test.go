package appliance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/luks/lukstest"
)

// lockedRequest is one for a disk that is encrypted as a whole.
func lockedRequest(t *testing.T) (Request, *format.Image) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, lukstest.V2("secret", make([]byte, 64<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := format.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return Request{Image: file, Report: &inspect.Report{
		Image:   inspect.Image{Size: i.Size},
		Volumes: []inspect.Volume{{Name: "disk", Kind: "luks2", UUID: lukstest.UUID, Encrypted: true}, {Name: "disk/open", Kind: "ext4"}},
		System:  inspect.System{Root: "disk/open", Crypttab: []inspect.Mapped{{Name: "safe", Volume: "disk"}}},
	}}, i
}

func keyFile(t *testing.T, text string) []luks.Key {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := luks.ReadKeys([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestUnlock maps what is encrypted by the right key, and says what to give otherwise.
func TestUnlock(t *testing.T) {
	t.Parallel()
	r, i := lockedRequest(t)
	if _, err := diskOf(context.Background(), r, i); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "--luks-key") {
		t.Errorf("without a key: %v", err)
	}
	r.Keys = keyFile(t, "wrong")
	if _, err := diskOf(context.Background(), r, i); !droveway.Is(err, droveway.Permission) {
		t.Errorf("by a wrong key: %v", err)
	}
	r.Keys = keyFile(t, "secret\n")
	d, err := diskOf(context.Background(), r, i)
	if err != nil {
		t.Fatal(err)
	}
	m := d.Maps[0]
	table := wire.Target{Size: 128, Kind: "crypt", Params: fmt.Sprintf("aes-xts-plain64 %x 0 /dev/vda 64 1 sector_size:4096", "the key of the volume, 32 bytes.")}
	if len(d.Maps) != 1 || m.Name != "safe" || m.UUID != "CRYPT-LUKS2-"+strings.ReplaceAll(lukstest.UUID, "-", "")+"-safe" || !slices.Equal(m.Table, []wire.Target{table}) {
		t.Errorf("%+v", d.Maps)
	}
	if at := d.Mounts[0].Device; at != "/dev/mapper/safe" {
		t.Errorf("the root is at %s", at)
	}
}

// TestInMemory keeps the order, which may have keys, off every disk.
func TestInMemory(t *testing.T) {
	t.Parallel()
	f, err := inMemory(func(f *os.File) error { _, err := f.WriteString("key"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil || !strings.HasPrefix(at, "/memfd:") {
		t.Errorf("it is at %s (%v)", at, err)
	}
}

// TestCiphers takes along what the kernel cannot ask for.
func TestCiphers(t *testing.T) {
	t.Parallel()
	modules := []string{"virtio_pci", "virtio_blk", "dm_mod", "dm_crypt", "xts", "ecb", "cbc", "essiv", "sha256_generic"}
	has := func(module string) bool { return slices.Contains(modules, module) }
	for cipher, want := range map[string]string{
		"aes-xts-plain64":      "virtio_pci virtio_blk dm_mod dm_crypt ecb xts",
		"aes-cbc-essiv:sha256": "virtio_pci virtio_blk dm_mod dm_crypt cbc sha256_generic essiv",
	} {
		got := modulesFor(wire.Disk{Maps: []wire.Map{{Table: []wire.Target{{Kind: crypt, Params: cipher + " 00 0 /dev/vda 0"}}}}}, has)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v", cipher, got)
		}
	}
}
