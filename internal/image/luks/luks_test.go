package luks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/luks/lukstest"
)

// contents are 100 KiB that differ everywhere.
func contents() []byte {
	b := make([]byte, 100<<10)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	return b
}

func open(t testing.TB, b []byte) *Container {
	t.Helper()
	c, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUnlock(t *testing.T) {
	t.Parallel()
	want := contents()
	for version, b := range map[int][]byte{1: lukstest.V1("secret", want), 2: lukstest.V2("secret", want)} {
		c := open(t, b)
		if c.Version != version || c.UUID != lukstest.UUID {
			t.Errorf("version %d, UUID %s", c.Version, c.UUID)
		}
		if _, err := c.Unlock(context.Background(), []byte("Secret")); !droveway.Is(err, droveway.Permission) {
			t.Errorf("version %d, another passphrase: %v, want permission", version, err)
		}
		v, err := c.Unlock(context.Background(), []byte("secret"))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if v.Size != int64(len(want)) {
			t.Errorf("version %d: %d bytes, want %d", version, v.Size, len(want))
		}
		for _, r := range [][2]int{{0, 512}, {1, 1}, {4095, 2}, {511, 70 << 10}, {100<<10 - 7, 7}} {
			got := make([]byte, r[1])
			if _, err := v.ReadAt(got, int64(r[0])); err != nil {
				t.Errorf("version %d: %v", version, err)
			}
			if !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
				t.Errorf("version %d: %d bytes at %d are wrong", version, r[1], r[0])
			}
		}
		if n, err := v.ReadAt(make([]byte, 10), v.Size-3); n != 3 || err != io.EOF {
			t.Errorf("version %d: read over the end: %d, %v", version, n, err)
		}
	}
}

// TestSecondHeader opens a volume whose first header is damaged.
func TestSecondHeader(t *testing.T) {
	t.Parallel()
	b := lukstest.V2("secret", contents())
	b[5000] ^= 1
	if _, err := open(t, b).Unlock(context.Background(), []byte("secret")); err != nil {
		t.Error(err)
	}
	b[16<<10+5000] ^= 1
	if _, err := Open(bytes.NewReader(b), int64(len(b))); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("two damaged headers: %v, want invalid", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key=1")
	if err := os.WriteFile(file, []byte("secret\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := ReadKeys([]string{file, strings.ToUpper(lukstest.UUID) + "=" + file, "22222222-2222-4333-8444-555555555555=" + file})
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, lukstest.V1("secret", contents()))
	for i, want := range []bool{true, true, false} {
		if got := keys[i].For(c); got != want {
			t.Errorf("key %d is for the volume: %v, want %v", i, got, want)
		}
	}
	if _, err := keys[0].Open(context.Background(), c); err != nil {
		t.Errorf("a passphrase with a line end: %v", err)
	}
	if _, err := ReadKeys([]string{filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a key that is not there was read")
	}
	if _, err := ReadKeys([]string{os.DevNull}); err == nil {
		t.Error("an empty key was read")
	}
}

// TestCostly refuses headers that ask for too much.
func TestCostly(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kdf{
		"memory":     {kind: kdfArgon2id, passes: 1, memory: 2 << 20, lanes: 1},
		"passes":     {kind: kdfArgon2i, passes: 100_000, memory: 1 << 20, lanes: 1},
		"iterations": {kind: kdfPBKDF2, hash: "sha256", iterations: 1 << 31},
		"kind":       {kind: "scrypt"},
		"hash":       {kind: kdfPBKDF2, hash: "md5", iterations: 1},
	} {
		k.salt = []byte("salt")
		if _, err := k.derive([]byte("x"), 32); !droveway.Is(err, droveway.Unsupported) {
			t.Errorf("%s: %v, want unsupported", name, err)
		}
	}
}

// TestRefused says of what cannot be read what it is.
func TestRefused(t *testing.T) {
	t.Parallel()
	for change, want := range map[[2]string]string{
		{`"segments":{`, `"segments":{"1":{},`}:                                      "2 segments",
		{`"keyslots_size"`, `"requirements":{"mandatory":["online-reencrypt"]},"x"`}: "encrypted anew",
		{`"sector_size":4096`, `"sector_size":7`}:                                    "makes no sense",
		{`"stripes":1`, `"stripes":1000000`}:                                         "key slot 3 makes no sense",
	} {
		var m metadata
		text := strings.Replace(lukstest.Metadata(), change[0], change[1], 1)
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if err := (&Container{}).take(&m, 1<<20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", change, err, want)
		}
	}
	b := lukstest.V1("secret", contents())
	copy(b[8:], "twofish\x00")
	if _, err := open(t, b).Unlock(context.Background(), []byte("secret")); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("twofish: %v, want unsupported", err)
	}
}

// try opens a container at little cost, whatever it asks for.
func try(c *Container) {
	for i := range c.slots {
		for _, k := range []*kdf{&c.slots[i].kdf, &c.slots[i].digest.kdf} {
			k.iterations, k.passes, k.memory = min(k.iterations, 9), min(k.passes, 2), min(k.memory, 256)
		}
	}
	if v, err := c.Unlock(context.Background(), []byte("secret")); err == nil {
		_, _ = v.ReadAt(make([]byte, 100), v.Size/2)
	}
}

func FuzzHeader(f *testing.F) {
	data := contents()[:8192]
	f.Add(lukstest.V1("secret", data))
	f.Add(lukstest.V2("secret", data))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if c, err := Open(bytes.NewReader(b), int64(len(b))); err == nil {
			try(c)
		}
	})
}

// FuzzMetadata goes past the checksum.
func FuzzMetadata(f *testing.F) {
	f.Add(lukstest.Metadata())
	image := lukstest.V2("secret", contents()[:8192])
	f.Fuzz(func(_ *testing.T, text string) {
		var m metadata
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		c := &Container{r: bytes.NewReader(image)}
		if c.take(&m, int64(len(image))) == nil {
			try(c)
		}
	})
}

// TestSentKey takes keys that can be some, and shows none.
func TestSentKey(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		uuid string
		size int
	}{"none": {"", 0}, "too long": {"", maxSent + 1}, "no UUID": {"../x", 1}} {
		if _, err := NewKey("root.key", k.uuid, make([]byte, k.size)); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "root.key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	k, err := NewKey("root.key", lukstest.UUID, []byte("correct horse"))
	if err != nil || string(k.Secret()) != "correct horse" {
		t.Errorf("%v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, []any{k, &k, struct{ K Key }{k}, []Key{k}}); strings.Contains(got, "horse") || strings.Contains(got, "99 111") || strings.Contains(got, "0x63, 0x6f") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}
