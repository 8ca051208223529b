package registry

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

func edit(t testing.TB, b []byte) *Editor {
	t.Helper()
	e, err := Edit(b, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// done gives the changed hive, opened.
func done(t testing.TB, e *Editor) (*Hive, []byte) {
	t.Helper()
	b, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return h, b
}

func set(t testing.TB, e *Editor, path, name string, v Value) {
	t.Helper()
	if err := e.Set(path, name, v); err != nil {
		t.Fatal(err)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	old := sample()
	before := bytes.Clone(old)
	e := edit(t, old)
	long := strings.Repeat("long ", 1000)
	set(t, e, `Microsoft\Windows NT`, "ProductName", Text(long))
	set(t, e, `microsoft\windows nt`, "ubr", Number(7))
	set(t, e, `Microsoft\New\Below`, "", Texts("a", "b"))
	set(t, e, `Microsoft\New\Below`, "Grüße", Expand("%x%"))
	set(t, e, `Microsoft\New\Below`, "Πάντα", Binary([]byte{1, 2, 3}))
	set(t, e, `Microsoft\New\Below`, "Πάντα", Binary([]byte{1, 2, 3, 4, 5}))
	h, b := done(t, e)
	if !bytes.Equal(old, before) {
		t.Error("the old hive was changed")
	}
	k, err := h.Key(`Microsoft\Windows NT`)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := k.Number("UBR"); k.Text("ProductName") != strings.TrimSpace(long) || n != 7 {
		t.Errorf("%q, %d", k.Text("ProductName"), n)
	}
	if k, err = h.Key(`Microsoft\New\Below`); err != nil {
		t.Fatal(err)
	}
	if _, data, err := k.value("Πάντα"); k.Text("") != "a b" || k.Text("Grüße") != "%x%" || string(data) != "\x01\x02\x03\x04\x05" {
		t.Errorf("%q, %q, %q, %v", k.Text(""), k.Text("Grüße"), data, err)
	}
	le := binary.LittleEndian
	if seq := le.Uint32(b[4:]); seq != le.Uint32(b[8:]) || seq != le.Uint32(old[4:])+1 || int(le.Uint32(b[40:])) != len(b)-baseBytes {
		t.Errorf("sequence %d and %d, length %d of %d", seq, le.Uint32(b[8:]), le.Uint32(b[40:]), len(b)-baseBytes)
	}
}

// TestUnchanged finds keys and values that nobody named where they were, as they
// were.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	old := sample()
	e := edit(t, old)
	set(t, e, `Microsoft\New`, "x", Number(1))
	h, _ := done(t, e)
	was, err := Open(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{`Microsoft\Windows NT`, `Microsoft\Other`} {
		a, errA := was.Key(path)
		b, errB := h.Key(path)
		if errA != nil || errB != nil || a.at != b.at || !bytes.Equal(a.cell, b.cell) {
			t.Errorf("%s was changed: %v, %v", path, errA, errB)
		}
	}
}

// TestManyKeys divides lists, with and without hashes of names in them.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	for _, minor := range []uint32{3, 5} {
		b := sample()
		binary.LittleEndian.PutUint32(b[24:], minor)
		binary.LittleEndian.PutUint32(b[sumAt:], checksum(b))
		e := edit(t, b)
		const n = 3000
		for i := range n {
			set(t, e, fmt.Sprintf(`Many\Key %d`, i*7919%n), "Number", Number(uint32(i*7919%n)))
		}
		h, _ := done(t, e)
		k, err := h.Key("Many")
		if err != nil {
			t.Fatal(err)
		}
		last, count := "", 0
		err = k.Children(func(c *Key) bool {
			if compare(last, c.Name) >= 0 {
				t.Errorf("%s comes after %s", c.Name, last)
			}
			last = c.Name
			if got, ok := c.Number("Number"); !ok || c.Name != fmt.Sprintf("Key %d", got) {
				t.Errorf("%s has %d", c.Name, got)
			}
			count++
			return true
		})
		if err != nil || count != n {
			t.Errorf("%d keys, want %d: %v", count, n, err)
		}
	}
}

// TestSpaceIsUsedAgain changes one value many times.
func TestSpaceIsUsedAgain(t *testing.T) {
	t.Parallel()
	e := edit(t, sample())
	for i := range 1000 {
		set(t, e, "Microsoft", "x", Text(strings.Repeat("y", 10+i%900)))
	}
	if _, b := done(t, e); len(b) > len(sample())+16<<10 {
		t.Errorf("the hive grew from %d to %d bytes", len(sample()), len(b))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	dirty := sample()
	dirty[4]++
	binary.LittleEndian.PutUint32(dirty[sumAt:], checksum(dirty))
	bin := sample()
	bin[baseBytes+binHead] ^= 1
	for name, k := range map[string]struct {
		b    []byte
		want droveway.Kind
	}{
		"not written to its end": {dirty, droveway.Conflict},
		"wrong checksum":         {append([]byte("regf\x09"), sample()[5:]...), droveway.Invalid},
		"damaged bin":            {bin, droveway.Invalid},
		"truncated":              {sample()[:6000], droveway.Invalid},
		"empty":                  {nil, droveway.Invalid},
	} {
		if _, err := Edit(k.b, time.Now()); !droveway.Is(err, k.want) {
			t.Errorf("%s: %v, want %s", name, err, k.want)
		}
	}
	e := edit(t, sample())
	if err := e.Set("x", "y", Binary(make([]byte, maxData+1))); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("too long a value: %v", err)
	}
	if err := e.Set(`x\\y`, "y", Number(1)); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a key without a name: %v", err)
	}
}

func FuzzEdit(f *testing.F) {
	f.Add(sample(), "Microsoft", "ProductName", []byte("data"))
	f.Add(registrytest.Hive(registrytest.Key{}), `a\b`, "", make([]byte, 5000))
	f.Fuzz(func(_ *testing.T, b []byte, path, name string, data []byte) {
		b = bytes.Clone(b)
		if len(b) >= baseBytes { // go past the checksum
			binary.LittleEndian.PutUint32(b[seqAt+4:], binary.LittleEndian.Uint32(b[seqAt:]))
			binary.LittleEndian.PutUint32(b[sumAt:], checksum(b))
		}
		e, err := Edit(b, time.Unix(0, 0))
		if err != nil || e.Set(path, name, Binary(data)) != nil {
			return
		}
		_, _ = e.Bytes()
	})
}

// FuzzName writes whatever names into a good hive and reads them again.
func FuzzName(f *testing.F) {
	f.Add("Microsoft", "ProductName", []byte("data"))
	f.Add("ä", "Πάντα", []byte{})
	f.Fuzz(func(t *testing.T, key, name string, data []byte) {
		e := edit(t, sample())
		if e.Set(key, name, Binary(data)) != nil {
			return
		}
		h, _ := done(t, e)
		k, err := h.Key(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := k.value(name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%q, %v, want %q", got, err, data)
		}
	})
}
