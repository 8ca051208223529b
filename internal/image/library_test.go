package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/droveway/droveway"
)

const helperEnv = "DROVEWAY_IMAGE_HELPER"

func TestMain(m *testing.M) {
	if dir, ok := strings.CutPrefix(os.Getenv(helperEnv), "convert:"); ok {
		helpConvert(dir)
		return
	}
	if os.Getenv(helperEnv) != "" {
		helpImport()
		return
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openLibrary(t *testing.T, dir string) *Library {
	t.Helper()
	l, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// disk is a raw disk of 3 MiB with an MBR signature.
func disk() []byte {
	b := make([]byte, 3<<20)
	copy(b, "boot code")
	copy(b[2<<20:], "the end")
	b[510], b[511] = 0x55, 0xaa
	return b
}

func qcow2(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "out")
	if err := os.WriteFile(raw, disk(), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, out).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, said)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantError(t *testing.T, err error, kind droveway.Kind, says string) {
	t.Helper()
	if droveway.KindOf(err) != kind || err != nil && !strings.Contains(err.Error(), says) {
		t.Fatalf("error %v of kind %q, want %q that says %q", err, droveway.KindOf(err), kind, says)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	for format, file := range map[droveway.Format][]byte{droveway.Raw: disk(), droveway.QCOW2: qcow2(t)} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			testImport(t, format, file)
		})
	}
}

func testImport(t *testing.T, format droveway.Format, file []byte) {
	dir := filepath.Join(t.TempDir(), "images")
	l := openLibrary(t, dir)
	var done int64
	got, err := l.Import(t.Context(), Order{Name: "debian-12", Progress: func(n int64) { done = n }}, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file)
	want := droveway.Image{
		Meta:   droveway.Meta{Name: "debian-12", Created: got.Created},
		Format: format, Size: 3 << 20, Bytes: int64(len(file)), SHA256: hex.EncodeToString(sum[:]),
		State: droveway.ImageReady, Updated: got.Created,
		Source: &droveway.ImageSource{Format: string(format), Bytes: int64(len(file)), SHA256: hex.EncodeToString(sum[:])},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("image (-want +got):\n%s", d)
	}
	if age := time.Since(got.Created); age < 0 || age > time.Minute {
		t.Errorf("created %s ago", age)
	}
	if done != int64(len(file)) {
		t.Errorf("progress ended at %d of %d", done, len(file))
	}
	l = openLibrary(t, dir) // a restart
	f, img, err := l.Open("debian-12")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, file) {
		t.Errorf("read %d bytes, %v; want the %d imported", len(b), err, len(file))
	}
	if d := cmp.Diff(want, img); d != "" {
		t.Errorf("opened image (-want +got):\n%s", d)
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	torn := io.MultiReader(bytes.NewReader(disk()), failing{io.ErrUnexpectedEOF})
	for name, c := range map[string]struct {
		ctx   context.Context
		image string
		from  io.Reader
		kind  droveway.Kind
		says  string
	}{
		"bad name":    {t.Context(), "../x", bytes.NewReader(disk()), droveway.Invalid, "image name"},
		"text":        {t.Context(), "a", strings.NewReader("<html>404</html>"), droveway.Invalid, "the file is no disk image"},
		"empty":       {t.Context(), "a", strings.NewReader(""), droveway.Invalid, "empty"},
		"truncated":   {t.Context(), "a", bytes.NewReader(qcow2(t)[:200<<10]), droveway.Invalid, "truncated"},
		"torn stream": {t.Context(), "a", torn, droveway.Unavailable, "unexpected EOF"},
		"cancelled":   {stopped, "a", bytes.NewReader(disk()), droveway.Unavailable, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, err := openLibrary(t, dir).Import(c.ctx, Order{Name: c.image}, c.from)
			wantError(t, err, c.kind, c.says)
			if left := names(t, dir); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestNameClash(t *testing.T) {
	t.Parallel()
	l := openLibrary(t, t.TempDir())
	first, err := l.Import(t.Context(), Order{Name: "a"}, bytes.NewReader(disk()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Import(t.Context(), Order{Name: "a"}, failing{errors.New("must not be read")})
	wantError(t, err, droveway.Exists, "image a is there already")
	if got, err := l.Get("a"); err != nil || !cmp.Equal(got, first) {
		t.Errorf("the first image became %+v, %v", got, err)
	}
}

// blocked says when it is read, and then waits.
type blocked struct{ reading, goOn chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	close(b.reading)
	<-b.goOn
	return 0, io.EOF
}

func TestWhileImporting(t *testing.T) {
	t.Parallel()
	l := openLibrary(t, t.TempDir())
	b := blocked{make(chan struct{}), make(chan struct{})}
	ended := make(chan error)
	go func() {
		_, err := l.Import(t.Context(), Order{Name: "a"}, io.MultiReader(b, bytes.NewReader(disk())))
		ended <- err
	}()
	<-b.reading
	_, err := l.Import(t.Context(), Order{Name: "a"}, bytes.NewReader(disk()))
	wantError(t, err, droveway.Conflict, "is being imported")
	wantError(t, l.Remove("a"), droveway.Conflict, "is being imported")
	_, _, err = l.Open("a")
	wantError(t, err, droveway.NotFound, "no image a")
	if list, err := l.List(); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
	close(b.goOn)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if _, err := l.Get("a"); err != nil {
		t.Error(err)
	}
}

func TestListAndRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLibrary(t, dir)
	for _, name := range []string{"b", "a"} {
		if _, err := l.Import(t.Context(), Order{Name: name}, bytes.NewReader(disk())); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.List()
	if err != nil || len(list) != 2 || list[0].Name != "a" || list[1].Name != "b" {
		t.Fatalf("list %+v, %v", list, err)
	}
	f, _, err := l.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 { // the second time there is none
		if err := l.Remove("a"); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"b", "b.json"}, names(t, dir)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, disk()) {
		t.Errorf("a reader of the removed image got %d bytes, %v", len(b), err)
	}
	wantError(t, l.Remove("../b"), droveway.Invalid, "image name")
}

func TestOpenRemovesWhatIsLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := openLibrary(t, dir).Import(t.Context(), Order{Name: "a"}, bytes.NewReader(disk())); err != nil {
		t.Fatal(err)
	}
	// A kill may leave a stream, a file that has no description yet, or a
	// description under its temporary name.
	for _, left := range []string{".new-b-123", "c", ".new-c-77"} {
		if err := os.WriteFile(filepath.Join(dir, left), disk(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openLibrary(t, dir)
	if d := cmp.Diff([]string{"a", "a.json"}, names(t, dir)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestDamagedDescription(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openLibrary(t, dir).Get("a")
	wantError(t, err, droveway.Internal, "description of image a")
}

// helpImport imports from standard input.
func helpImport() {
	l, err := Open(os.Getenv(helperEnv), quiet())
	if err == nil {
		_, err = l.Import(context.Background(), Order{Name: "a", Progress: func(n int64) { fmt.Println(n) }}, os.Stdin)
	}
	if err != nil {
		panic(err)
	}
	fmt.Println("imported")
}

// TestKillLeavesNoHalfImage kills an importing process after each of its reports.
func TestKillLeavesNoHalfImage(t *testing.T) {
	t.Parallel()
	for reports := 1; ; reports++ {
		dir := t.TempDir()
		imported := killAfter(t, dir, reports)
		f, _, err := openLibrary(t, dir).Open("a")
		if err == nil {
			b, rerr := io.ReadAll(f)
			f.Close()
			if rerr != nil || !bytes.Equal(b, disk()) {
				t.Errorf("killed after report %d: half an image", reports)
			}
		} else if left := names(t, dir); len(left) != 0 || imported {
			t.Errorf("killed after report %d: left %v, %v", reports, left, err)
		}
		if imported {
			return
		}
	}
}

// killAfter kills an importing helper after so many lines of its output and says
// whether it had imported by then.
func killAfter(t *testing.T, dir string, lines int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.Stdin = bytes.NewReader(disk())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var line string
	for range lines {
		if _, err := fmt.Fscanln(out, &line); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return line == "imported"
}

// TestSumStops ends in the midst of a checksum.
func TestSumStops(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, bytes.Repeat(disk(), 3), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := sumOf(t.Context(), f); err != nil || got != sum(bytes.Repeat(disk(), 3)) {
		t.Errorf("%s, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = sumOf(ctx, f)
	wantError(t, err, droveway.Unavailable, "check what was made")
}

// endless is a stream that nobody reads to its end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	if e.read > 64<<20 {
		return 0, errors.New("it is read on and on")
	}
	return len(p), nil
}

// TestImportIsBounded takes no more than was announced, and nothing that has no room.
// SYSTEMS 5.10.
func TestImportIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLibrary(t, dir)
	for size, want := range map[int64]droveway.Kind{4096: droveway.Unavailable, 60 << 40: droveway.Unavailable, 1 << 50: droveway.Invalid} {
		e := &endless{}
		if _, err := l.Import(t.Context(), Order{Name: "a", Size: size}, e); !droveway.Is(err, want) || e.read > 8<<20 {
			t.Errorf("%d bytes were said: %v after %d bytes", size, err, e.read)
		}
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}
