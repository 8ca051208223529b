package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/survey"
)

const helperEnv = "DROVEWAY_IMAGE_HELPER"

func TestMain(m *testing.M) {
	if dir, ok := strings.CutPrefix(os.Getenv(helperEnv), "convert:"); ok {
		helpConvert(dir)
		return
	}
	if dir, ok := strings.CutPrefix(os.Getenv(helperEnv), "make:"); ok {
		helpMake(dir)
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

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

// made is the path of the test's disk in a format.
func made(t *testing.T, format string) string {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "out")
	if err := os.WriteFile(raw, disk(), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "convert", "-f", "raw", "-O", format, raw, out)
	return out
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// source is a file from which an image is made by a job.
type source struct{ path, sum, job string }

// imported makes an image of the only disk of a source.
func (l *Library) imported(ctx context.Context, name string, from source, progress func(int64)) (droveway.Image, error) {
	src, err := survey.OpenAlone(from.path)
	if err != nil {
		return droveway.Image{}, err
	}
	defer src.Close()
	img := droveway.Image{Meta: droveway.Meta{Name: name}, Job: from.job, Source: &droveway.ImageSource{Format: src.Format, Bytes: src.Bytes, SHA256: from.sum}}
	return l.Make(ctx, img, Disk{Source: src, Disk: src.Disks[0], Path: from.path, Part: from.path + ".part"}, progress)
}

// raw is a source that is kept as it is.
func raw(t *testing.T, job string) source {
	t.Helper()
	return source{made(t, "raw"), sum(disk()), job}
}

func wantError(t *testing.T, err error, kind droveway.Kind, says string) {
	t.Helper()
	if droveway.KindOf(err) != kind || err != nil && !strings.Contains(err.Error(), says) {
		t.Fatalf("error %v of kind %q, want %q that says %q", err, droveway.KindOf(err), kind, says)
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	for _, format := range []droveway.Format{droveway.Raw, droveway.QCOW2} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			testMake(t, format)
		})
	}
}

func testMake(t *testing.T, format droveway.Format) {
	dir, path := filepath.Join(t.TempDir(), "images"), made(t, string(format))
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := openLibrary(t, dir).imported(t.Context(), "debian-12", source{path, sum(file), "j"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := droveway.Image{
		Meta:   droveway.Meta{Name: "debian-12", Created: got.Created},
		Format: format, Size: 3 << 20, Bytes: int64(len(file)), SHA256: sum(file),
		State: droveway.ImageReady, Updated: got.Created, Job: "j",
		Source: &droveway.ImageSource{Format: string(format), Bytes: int64(len(file)), SHA256: sum(file)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("image (-want +got):\n%s", d)
	}
	if age := time.Since(got.Created); age < 0 || age > time.Minute {
		t.Errorf("created %s ago", age)
	}
	f, img, err := openLibrary(t, dir).Open("debian-12") // after a restart
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

func TestNameClash(t *testing.T) {
	t.Parallel()
	l := openLibrary(t, t.TempDir())
	first, err := l.imported(t.Context(), "a", raw(t, "j"), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.imported(t.Context(), "a", raw(t, "j"), nil)
	if err != nil || !cmp.Equal(again, first) {
		t.Errorf("the same job made %+v, %v", again, err)
	}
	_, err = l.imported(t.Context(), "a", raw(t, "another"), nil)
	wantError(t, err, droveway.Exists, "image a is there already")
	_, err = l.imported(t.Context(), "../x", raw(t, "another"), nil)
	wantError(t, err, droveway.Invalid, "image name")
	if got, err := l.Get("a"); err != nil || !cmp.Equal(got, first) {
		t.Errorf("the first image became %+v, %v", got, err)
	}
}

func TestWhileImporting(t *testing.T) {
	t.Parallel()
	l := openLibrary(t, t.TempDir())
	reading, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	from, ended := source{made(t, "vmdk"), "x", "j"}, make(chan error)
	go func() {
		_, err := l.imported(t.Context(), "a", from, func(int64) { once.Do(func() { close(reading); <-goOn }) })
		ended <- err
	}()
	<-reading
	_, err := l.imported(t.Context(), "a", raw(t, "another"), nil)
	wantError(t, err, droveway.Conflict, "is being imported")
	wantError(t, l.Remove("a"), droveway.Conflict, "is being imported")
	_, _, err = l.Open("a")
	wantError(t, err, droveway.NotFound, "no image a")
	if list, err := l.List(); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
	close(goOn)
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
		if _, err := l.imported(t.Context(), name, raw(t, "j"), nil); err != nil {
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
	if _, err := openLibrary(t, dir).imported(t.Context(), "a", raw(t, "j"), nil); err != nil {
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

// helpMake makes an image, and tells each step of it.
func helpMake(dir string) {
	if _, err := convertIn(context.Background(), dir, func(n int64) { fmt.Println(n) }); err != nil {
		panic(err)
	}
	fmt.Println("imported")
}

// TestKillLeavesNoHalfImage kills an importing process after each of its reports.
func TestKillLeavesNoHalfImage(t *testing.T) {
	t.Parallel()
	raw, vmdk := made(t, "raw"), made(t, "vmdk")
	for reports := 1; ; reports++ {
		dir := t.TempDir()
		if err := os.Link(vmdk, filepath.Join(dir, "source.vmdk")); err != nil {
			t.Fatal(err)
		}
		imported := killAfter(t, dir, reports)
		library := filepath.Join(dir, "library")
		if _, err := openLibrary(t, library).Get("a"); err == nil {
			tool(t, "compare", "-f", "raw", "-F", "qcow2", raw, filepath.Join(library, "a"))
		} else if left := names(t, library); len(left) != 0 || imported {
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
	cmd.Env = append(os.Environ(), helperEnv+"=make:"+dir)
	cmd.Stderr = os.Stderr
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
