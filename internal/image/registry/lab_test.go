//go:build lab

package registry

import (
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
