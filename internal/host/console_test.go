package host

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

func TestConsole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	c, err := r.Console(ctx, "a", Console{Machine: web, Offset: 7})
	if err != nil || len(c.Data) != 0 || c.Next != 7 {
		t.Errorf("without a machine: %+v, %v", c, err)
	}
	n.runs(5)
	text := bytes.Repeat([]byte("0123456789abcdef"), consoleMax/16+1)
	must(t, os.WriteFile(n.guest().Console(), text, 0o600))
	for _, c := range []struct {
		from, bytes int64
	}{
		{0, consoleMax},
		{consoleMax, 16},
		{consoleMax + 10, 6},
		{consoleMax + 16, 0},
		{consoleMax + 99, 0},
	} {
		got, err := r.Console(ctx, "a", Console{Machine: web, Offset: c.from})
		must(t, err)
		want := text[min(c.from, int64(len(text))):]
		if !bytes.Equal(got.Data, want[:c.bytes]) || got.Next != c.from+c.bytes {
			t.Errorf("from %d: %d bytes, next %d; want %d", c.from, len(got.Data), got.Next, c.bytes)
		}
	}
	_, err = r.Console(ctx, "a", Console{Machine: web, Offset: -1})
	refused(t, err, droveway.Invalid, "offset -1")
	must(t, os.Remove(n.guest().Console()))
	_, err = r.Console(ctx, "a", Console{Machine: web})
	refused(t, err, droveway.Unavailable, "console of machine web")
}

// A guest that writes without end keeps no more than the newest of it, and a
// reader goes on there.
func TestConsoleIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	n.runs(5)
	const keep, size = 2 * consoleBlock, 100*consoleBlock + 10
	text := bytes.Repeat([]byte("0123456789"), size/10)
	path := n.guest().Console()
	must(t, os.WriteFile(path, text, 0o600))
	for range 2 {
		must(t, trim(path, keep))
	}
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if used := st.Blocks * 512; used > keep+2*consoleBlock || st.Size != int64(len(text)) {
		t.Errorf("%d bytes on the disk, length %d: want about %d, %d", used, st.Size, keep, len(text))
	}
	c, err := r.Console(ctx, "a", Console{Machine: web})
	must(t, err)
	if len(c.Data) < keep || !bytes.HasSuffix(text, c.Data) || c.Next != int64(len(text)) {
		t.Errorf("%d bytes, next %d: want the newest %d", len(c.Data), c.Next, keep)
	}
	must(t, trim(path, 2*size))
	if again, err := r.Console(ctx, "a", Console{Machine: web}); err != nil || !bytes.Equal(again.Data, c.Data) {
		t.Errorf("a short log lost bytes: %d, %v", len(again.Data), err)
	}
}
