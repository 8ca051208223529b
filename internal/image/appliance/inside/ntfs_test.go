package inside

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/registry"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
	"github.com/droveway/droveway/internal/image/repair"
)

func TestSpelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "WINDOWS/system32/Drivers/VIOSTOR.SYS"), "", 0o600)
	put(t, filepath.Join(dir, "windows.old"), "", 0o600)
	for asked, want := range map[string]string{
		"Windows/System32/drivers/viostor.sys": "WINDOWS/system32/Drivers/VIOSTOR.SYS",
		"Windows/Drivers/VirtIO/viostor.sys":   "WINDOWS/Drivers/VirtIO/viostor.sys",
		"Windows.old":                          "windows.old",
	} {
		if got := spelled(filepath.Join(dir, asked)); got != filepath.Join(dir, want) {
			t.Errorf("%s is spelled %s", asked, got)
		}
	}
}

// TestHive sets values in a hive and keeps the old one; of one that must not be changed
// it changes nothing.
func TestHive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := registrytest.Hive(registrytest.Key{Keys: map[string]registrytest.Key{
		"Select": {Values: map[string]any{"Current": uint32(2)}}, "ControlSet002": {},
	}})
	file := put(t, filepath.Join(dir, "SYSTEM"), string(old), 0o600)
	kind, data := registry.Text("viostor").Raw()
	order := wire.Hive{Path: file, Set: []wire.Value{{Key: `${control}\Services\viostor`, Name: "Service", Type: kind, Data: data}}}
	var told []wire.Change
	w := writer{step: "driver", changed: func(c wire.Change) { told = append(told, c) }}
	if err := w.hive(order); err != nil {
		t.Fatal(err)
	}
	now := get(t, file)
	h, err := registry.Open(bytes.NewReader([]byte(now)))
	if err != nil {
		t.Fatal(err)
	}
	k, err := h.Key(`ControlSet002\Services\viostor`)
	if err != nil || k.Text("Service") != "viostor" {
		t.Errorf("%v, %v", k, err)
	}
	if len(told) != 1 || told[0].Backup != repair.Kept(file) || told[0].Before != sum(string(old)) || told[0].After != sum(now) || get(t, repair.Kept(file)) != string(old) {
		t.Errorf("%+v", told)
	}
	torn := []byte(now)
	torn[4]++
	for name, text := range map[string]string{"torn": string(torn), "cut": now[:5000], "another file": "MZ"} {
		file := put(t, filepath.Join(t.TempDir(), "SYSTEM"), text, 0o600)
		order.Path = file
		if err := w.hive(order); droveway.KindOf(err) != droveway.Conflict && droveway.KindOf(err) != droveway.Invalid || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if all, err := os.ReadDir(filepath.Dir(file)); err != nil || len(all) != 1 || get(t, file) != text {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
}
