//go:build lab

package intake

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// smallWorld has a library on a file system of 8 MiB.
func smallWorld(t *testing.T) *world {
	t.Helper()
	js, dir := startStore(t), t.TempDir()
	must(t, syscall.Mount("none", dir, "tmpfs", 0, "size=8m"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	return newWorldIn(t, js, dir)
}

// large is a disk of 20 MiB that nothing can make smaller, and packed is one whose
// qcow2 with compression takes next to nothing.
func large() []byte {
	b := make([]byte, 20<<20)
	for at, sum := 0, sha256.Sum256(nil); at < len(b); at, sum = at+len(sum), sha256.Sum256(sum[:]) {
		copy(b[at:], sum[:])
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

func packed(t *testing.T) []byte {
	t.Helper()
	b := bytes.Repeat([]byte("text"), 5<<20)
	b[510], b[511] = 0x55, 0xaa
	return vmdkOf(t, b)
}

// TestFullDisk has a disk that fills up at each stage: the error says so, at once,
// and the disk is as empty as before.
func TestFullDisk(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := large() // without a length: it is longer than what is held back to find one out
		for at := 0; at < len(b); at += 1 << 20 {
			if _, err := w.Write(b[at : at+1<<20]); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	for name, link := range map[string]string{
		"before": sourcetest.New(t, large(), sourcetest.Manners{}).URL, "fetch": endless.URL, "convert": sourcetest.New(t, packed(t), sourcetest.Manners{}).URL,
	} {
		t.Run(name, func(t *testing.T) {
			w := smallWorld(t)
			j := w.begin(t, Request{Name: "a", Link: link}).do(t, t.Context())
			if j.State != droveway.JobFailed || !strings.Contains(j.Error, "no room") || strings.Contains(j.Error, "times") {
				t.Errorf("the job %s: %s", j.State, j.Error)
			}
			w.wantNothing(t)
			w.wantEmpty(t)
		})
	}
	t.Run("upload", func(t *testing.T) {
		w := smallWorld(t)
		for _, size := range []int64{20 << 20, 0} { // said before, and not
			_, err := w.Receive(t.Context(), "a", "u", 0, size, bytes.NewReader(large()))
			if !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "no room") {
				t.Errorf("%d bytes: %v", size, err)
			}
			w.wantNothing(t)
			w.wantEmpty(t)
		}
	})
}

func (w *world) wantEmpty(t *testing.T) {
	t.Helper()
	if free, err := w.cfg.Library.Free(); err != nil || free < 7<<20 {
		t.Errorf("%d bytes are free afterwards, %v", free, err)
	}
}
