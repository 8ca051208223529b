package inspect

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/luks/lukstest"
)

// lockedRoot is the root of the split disk, alone and encrypted.
func lockedRoot(t *testing.T) []byte {
	t.Helper()
	const start, end = 8192 * 512, 12288 * 512
	return lukstest.V2("secret", imagetest.Image(t, "split")[start:end])
}

// inspectWith inspects with keys, each UUID=PASSPHRASE or a passphrase for all.
func inspectWith(t *testing.T, b []byte, keys ...string) (*Report, error) {
	t.Helper()
	var args []string
	for _, k := range keys {
		id, pass, ok := strings.Cut(k, "=")
		if !ok {
			id, pass = "", k
		}
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(pass), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, strings.TrimPrefix(id+"="+file, "="))
	}
	read, err := luks.ReadKeys(args)
	if err != nil {
		t.Fatal(err)
	}
	i, err := format.New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return Disk(context.Background(), i, Options{Catalog: catalog(t), Keys: read})
}

func TestUnlock(t *testing.T) {
	b := lockedRoot(t)
	for _, keys := range [][]string{{"secret"}, {lukstest.UUID + "=secret"}} {
		r, err := inspectWith(t, b, keys...)
		if err != nil {
			t.Fatal(err)
		}
		if r.System.Root != "disk/open" || len(r.System.Fstab) == 0 || r.System.Fstab[0].Volume != "disk/open" {
			t.Errorf("keys %q: root %q, fstab %+v", keys, r.System.Root, r.System.Fstab)
		}
		if !r.Volumes[0].Unlocked || r.Volumes[0].Problem != "" {
			t.Errorf("keys %q: %+v", keys, r.Volumes[0])
		}
	}
	r, err := inspectWith(t, b)
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Volumes[0]; v.Unlocked || !v.Encrypted || !slices.Equal(v.Tokens, []string{"systemd-tpm2"}) {
		t.Errorf("without a key: %+v", v)
	}
}

func TestWrongKey(t *testing.T) {
	b := lockedRoot(t)
	for key, want := range map[string]droveway.Kind{
		"wrong": droveway.Permission,
		"22222222-2222-4333-8444-555555555555=secret": droveway.Permission,
		lukstest.UUID + "=wrong":                      droveway.Permission,
	} {
		if _, err := inspectWith(t, b, key); !droveway.Is(err, want) {
			t.Errorf("key %s: %v, want %s", key, err, want)
		}
	}
	plain := imagetest.Image(t, "split")
	if _, err := inspectWith(t, plain, "secret"); err != nil {
		t.Errorf("a key for all that nothing needs: %v", err)
	}
	if _, err := inspectWith(t, plain, lukstest.UUID+"=secret"); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a key for a volume that is not there: %v, want invalid", err)
	}
}

// TestCrypttab finds volumes under the names that crypttab gives them.
func TestCrypttab(t *testing.T) {
	inside := &volume{Volume: Volume{Name: "p5/open"}, found: volumeOf{}}
	root := &volume{Volume: Volume{Name: "p1"}, found: volumeOf{map[string]string{
		"etc/crypttab": "# comment\nsda5_crypt UUID=" + lukstest.UUID + " none luks\n",
		"etc/fstab":    "/dev/mapper/sda5_crypt /home ext4 defaults 0 2\n",
		"etc/passwd":   "root", "bin/sh": "x", "sbin/init": "x",
	}}}
	s := &inspection{report: &Report{}, volumes: []*volume{root, {Volume: Volume{Name: "p5", UUID: lukstest.UUID}, inside: inside}, inside}}
	s.openRoot(s.findRoots())
	if got := s.report.System.Fstab; len(s.report.System.Crypttab) != 1 || len(got) != 1 || got[0].Volume != "p5/open" || inside.Mount != "/home" {
		t.Errorf("fstab %+v, mounted at %q", got, inside.Mount)
	}
}
