//go:build lab

package luks

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/disk/disktest"
)

// plain writes a file for QEMU to encrypt, and a file with the passphrase.
func plain(t *testing.T) (dir, src, key string) {
	t.Helper()
	dir = t.TempDir()
	src, key = filepath.Join(dir, "plain"), filepath.Join(dir, "key")
	for file, b := range map[string][]byte{src: bytes.Repeat(contents(), 10), key: []byte("secret")} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, src, key
}

const secret = "secret,id=s,data=secret"

// holds opens a volume with a right and a wrong key, and compares what is inside.
func holds(t *testing.T, image string, version int, src string) *Container {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, b)
	if c.Version != version {
		t.Errorf("version %d, want %d", c.Version, version)
	}
	if _, err := c.Unlock(context.Background(), []byte("wrong")); !droveway.Is(err, droveway.Permission) {
		t.Errorf("a wrong key: %v, want permission", err)
	}
	v, err := c.Unlock(context.Background(), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := v.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what is inside is not what was encrypted")
	}
	return c
}

// TestQEMU reads volumes of version 1 that QEMU has written.
func TestQEMU(t *testing.T) {
	for name, options := range map[string]string{
		"xts-128":   "cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain,hash-alg=sha512",
		"cbc-essiv": "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1",
	} {
		t.Run(name, func(t *testing.T) {
			dir, src, _ := plain(t)
			image := filepath.Join(dir, "image")
			encrypt(t, options, src, image)
			holds(t, image, 1, src)
		})
	}
}

// encrypt has QEMU encrypt a file. It measures its own CPU time for the key's
// derivation, and gives up if the clock has not moved: then it is asked again.
func encrypt(t *testing.T, options, src, image string) {
	t.Helper()
	args := []string{"convert", "-f", "raw", "--object", secret, "-O", "luks", "-o", "key-secret=s,iter-time=10," + options, src, image}
	for {
		out, err := exec.Command("qemu-img", args...).CombinedOutput()
		if err == nil {
			return
		}
		if !bytes.Contains(out, []byte("accurate CPU usage")) || t.Context().Err() != nil {
			t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestCryptsetup reads a volume that cryptsetup has made, QEMU has filled, and
// cryptsetup has turned into version 2: its kernel part is not needed for that.
func TestCryptsetup(t *testing.T) {
	dir, src, key := plain(t)
	image := filepath.Join(dir, "image")
	disktest.Tool(t, "truncate", "-s", "8M", image)
	disktest.Tool(t, "cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", key, image)
	info, err := os.Stat(src)
	if err != nil {
		t.Fatal(err)
	}
	const payload = 2 << 20 // where cryptsetup lets the contents begin
	if err := os.Truncate(image, payload+info.Size()); err != nil {
		t.Fatal(err)
	}
	disktest.Tool(t, "qemu-img", "convert", "-n", "--object", secret, "-f", "raw", src, "--target-image-opts", "driver=luks,key-secret=s,file.driver=file,file.filename="+image)
	holds(t, image, 1, src)
	disktest.Tool(t, "cryptsetup", "convert", "-q", "--type", "luks2", image)
	holds(t, image, 2, src)
	for _, kind := range []string{kdfArgon2id, kdfArgon2i} {
		disktest.Tool(t, "cryptsetup", "luksConvertKey", "-q", "--key-file", key, "--pbkdf", kind, "--pbkdf-memory", "32768", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "2", image)
		if c := holds(t, image, 2, src); c.slots[0].kdf.kind != kind {
			t.Errorf("the slot has %s, want %s", c.slots[0].kdf.kind, kind)
		}
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(`{"type":"clevis","keyslots":["0"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	disktest.Tool(t, "cryptsetup", "token", "import", "--json-file", token, image)
	if c := holds(t, image, 2, src); !slices.Equal(c.Tokens, []string{"clevis"}) {
		t.Errorf("tokens %v", c.Tokens)
	}
}

// TestLargeSectors opens what cryptsetup makes of version 2 by itself.
func TestLargeSectors(t *testing.T) {
	dir, _, key := plain(t)
	image := filepath.Join(dir, "image")
	disktest.Tool(t, "truncate", "-s", "32M", image)
	disktest.Tool(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--sector-size", "4096", "--pbkdf-memory", "32768", "--pbkdf-force-iterations", "4", "--key-file", key, image)
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, b)
	v, err := c.Unlock(context.Background(), []byte("secret"))
	if err != nil || v.Size != 16<<20 || c.data.sector != 4096 {
		t.Errorf("%v; %d bytes in sectors of %d", err, v.Size, c.data.sector)
	}
}
