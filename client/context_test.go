package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

func wantKind(t *testing.T, err error, kind droveway.Kind) {
	t.Helper()
	if droveway.KindOf(err) != kind {
		t.Errorf("error is of kind %q (%v), want %q", droveway.KindOf(err), err, kind)
	}
}

func TestContextFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "context.json")
	want := client.Context{Server: "https://s:1", Token: "secret", CA: "pem"}
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := client.LoadContext(path)
	if err != nil || got != want {
		t.Fatalf("read %+v, %v", got, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := client.LoadContext(path)
		wantKind(t, err, droveway.Permission)
	}
}

func TestContextFileThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := client.LoadContext(filepath.Join(dir, "none"))
	wantKind(t, err, droveway.NotFound)
	for _, text := range []string{"", "[]", "{}", `{"server":""}`} {
		path := filepath.Join(dir, "c")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := client.LoadContext(path)
		wantKind(t, err, droveway.Invalid)
	}
}
