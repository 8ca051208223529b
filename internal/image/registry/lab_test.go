//go:build lab

package registry

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRegedit changes a hive with another program and reads it again.
func TestRegedit(t *testing.T) {
	dir := t.TempDir()
	hive, reg := filepath.Join(dir, "SOFTWARE"), filepath.Join(dir, "x.reg")
	if err := os.WriteFile(hive, sample(), 0o600); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("Windows Registry Editor Version 5.00\n")
	for _, name := range []string{"Aa", "Bb", "Cc"} {
		text.WriteString("\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\" + name + "]\n\"Text\"=\"" + strings.Repeat(name, 100) + "\"\n\"Number\"=dword:00000010\n")
	}
	if err := os.WriteFile(reg, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("hivexregedit", "--merge", "--prefix", `HKEY_LOCAL_MACHINE\SOFTWARE`, hive, reg).CombinedOutput(); err != nil {
		t.Fatalf("hivexregedit: %v\n%s", err, out)
	}
	f, err := os.Open(hive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Aa", "Bb", "Cc"} {
		k, err := h.Key(name)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := k.Number("Number"); k.Text("Text") != strings.Repeat(name, 100) || !ok || n != 16 {
			t.Errorf("%s: %q, %d", name, k.Text("Text"), n)
		}
	}
}

// exported is what another program reads below a key, by key and name.
func exported(t *testing.T, hive, key string) string {
	t.Helper()
	out, err := exec.Command("hivexregedit", "--export", "--prefix", `HKEY_LOCAL_MACHINE\SYSTEM`, hive, key).CombinedOutput()
	if err != nil {
		t.Fatalf("hivexregedit --export: %v\n%s", err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

// TestRegeditReads changes a hive that another program has written, many times over,
// lets it read all of it, change it again, and reads that.
func TestRegeditReads(t *testing.T) {
	hive, reg := filepath.Join(t.TempDir(), "SYSTEM"), filepath.Join(t.TempDir(), "x.reg")
	if err := os.WriteFile(hive, sample(), 0o600); err != nil {
		t.Fatal(err)
	}
	merge := func(text string) {
		t.Helper()
		if err := os.WriteFile(reg, []byte("Windows Registry Editor Version 5.00\n\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("hivexregedit", "--merge", "--prefix", `HKEY_LOCAL_MACHINE\SYSTEM`, hive, reg).CombinedOutput(); err != nil {
			t.Fatalf("hivexregedit --merge: %v\n%s", err, out)
		}
	}
	merge(`[HKEY_LOCAL_MACHINE\SYSTEM\Theirs]` + "\n\"Text\"=\"" + strings.Repeat("theirs", 50) + "\"\n\"Number\"=dword:00000010\n")
	untouched := exported(t, hive, "Theirs") + exported(t, hive, "Microsoft")
	set := func(e *Editor) error {
		for i := range 1500 {
			if err := e.Set(fmt.Sprintf(`Ours\Key %04d`, i), "Number", Number(uint32(i))); err != nil {
				return err
			}
		}
		for _, v := range []struct {
			name string
			v    Value
		}{{"", Text("standard")}, {"Multi", Texts("a", "b")}, {"Path", Expand("%x%")}, {"Bin", Binary([]byte{1, 255, 0, 0, 7})}, {"Short", Binary([]byte{9})}} {
			if err := e.Set("Ours", v.name, v.v); err != nil {
				return err
			}
		}
		return e.Set("Ours", "Bin", Binary(make([]byte, maxData)))
	}
	theirs, err := os.ReadFile(hive)
	if err != nil {
		t.Fatal(err)
	}
	e := edit(t, theirs)
	if err := set(e); err != nil {
		t.Fatal(err)
	}
	_, changed := done(t, e)
	if err := os.WriteFile(hive, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := exported(t, hive, "Theirs") + exported(t, hive, "Microsoft"); got != untouched {
		t.Errorf("what nobody named was changed:\n%s\nwas\n%s", got, untouched)
	}
	ours := exported(t, hive, "Ours")
	for _, want := range []string{
		`@=hex(1):73,00,74,00,61,00,6e,00,64,00,61,00,72,00,64,00,00,00`, `"Multi"=hex(7):61,00,00,00,62,00,00,00,00,00`,
		`"Path"=hex(2):25,00,78,00,25,00,00,00`, `"Short"=hex(3):09`, `"Bin"=hex(3):00,00,00`, `\Ours\Key 1499]` + "\n\"Number\"=dword:000005db",
	} {
		if !strings.Contains(ours, want) {
			t.Errorf("hivexregedit does not find %s in\n%.2000s", want, ours)
		}
	}
	if n := strings.Count(ours, "\\Ours\\Key "); n != 1500 {
		t.Errorf("hivexregedit finds %d keys, want 1500", n)
	}
	merge(`[HKEY_LOCAL_MACHINE\SYSTEM\Ours\Key 0700]` + "\n\"Theirs\"=dword:00000001\n")
	b, err := os.ReadFile(hive)
	if err != nil {
		t.Fatal(err)
	}
	k, err := edit(t, b).Key(`Ours\Key 0700`)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := k.Number("Theirs"); !ok || n != 1 {
		t.Errorf("what hivexregedit added to our key is %d, %v", n, ok)
	}
}
