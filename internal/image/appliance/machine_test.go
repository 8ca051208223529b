package appliance

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// TestOverlayIsBounded has a QEMU that was talked into writing without end: it does not
// fill the server's disk. SYSTEMS 5.10.
func TestOverlayIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	qemu := filepath.Join(dir, "qemu")
	writes := "#!/bin/sh\nexec dd if=/dev/zero of=/proc/self/fd/3 bs=1 count=1 conv=notrunc seek=$1\n"
	if err := os.WriteFile(qemu, []byte(writes), 0o700); err != nil {
		t.Fatal(err)
	}
	for at, bad := range map[string]bool{"1073741824": false, "5368709120": true} {
		call := filepath.Join(dir, "at-"+at)
		if err := os.WriteFile(call, []byte("#!/bin/sh\nexec "+qemu+" "+at+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		m := &machine{qemu: call, accel: "tcg", limit: time.Minute, kernel: open("kernel"), initrd: open("initrd"), image: open("image"), format: droveway.Raw, overlay: open("overlay-" + at)}
		err := m.run(t.Context(), func(wire.Event) {})
		if (err != nil) != bad {
			t.Errorf("a write at %s: %v", at, err)
		}
		if info, err := m.overlay.Stat(); err != nil || info.Size() > maxOverlay || !bad && info.Size() == 0 {
			t.Errorf("after a write at %s the overlay has %d bytes (%v)", at, info.Size(), err)
		}
	}
}
