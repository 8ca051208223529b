package origin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/source"
	"github.com/droveway/droveway/internal/image/sourcetest"
	"github.com/droveway/droveway/internal/nbd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contents is a disk of 24 MiB: data, nothing, data.
func contents() []byte {
	b := make([]byte, 24<<20)
	fill := func(from, to int) {
		for at, sum := from, sha256.Sum256([]byte{byte(from >> 20)}); at < to; at, sum = at+len(sum), sha256.Sum256(sum[:]) {
			copy(b[at:to], sum[:])
		}
	}
	fill(0, 6<<20)
	fill(20<<20, 23<<20)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// as gives a disk in a format of qemu-img.
func as(t testing.TB, disk []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "out")
	must(t, os.WriteFile(raw, disk, 0o600))
	args = append(append([]string{"convert", "-f", "raw"}, args...), raw, out)
	if said, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v: %s", args, err, said)
	}
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// origins makes origins in a directory; a second call is what the next process has.
func origins(t testing.TB, dir string, patience time.Duration) *Origins {
	t.Helper()
	web := &http.Transport{}
	o, err := New(Config{Dir: dir, HTTP: source.NewClient(web), Patience: patience, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { o.Close(); web.CloseIdleConnections() })
	return o
}

func (o *Origins) mustOffer(t testing.TB, r Request) droveway.Origin {
	t.Helper()
	got, err := o.Offer(t.Context(), r)
	must(t, err)
	return got
}

// read reads a part of an origin.
func (o *Origins) read(ctx context.Context, id string, off int64, n int) ([]byte, error) {
	e, err := o.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	p := make([]byte, n)
	return p, e.Read(ctx, p, off)
}

// served serves origins, and gives the address.
func served(t *testing.T, o *Origins) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&nbd.Server{Open: o.Open, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return ln.Addr().String()
}

// TestEveryFormat reads a disk in each format through QEMU's NBD client: its bytes
// are right, and none of the source travels twice.
func TestEveryFormat(t *testing.T) {
	t.Parallel()
	disk := contents()
	for name, args := range map[string][]string{
		"raw": {"-O", "raw"}, "qcow2": {"-O", "qcow2"}, "qcow2 compressed": {"-c", "-O", "qcow2"}, "vmdk": {"-O", "vmdk"},
		"vmdk stream": {"-O", "vmdk", "-o", "subformat=streamOptimized"}, "vhdx": {"-O", "vhdx"}, "vhd": {"-O", "vpc", "-o", "force_size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := as(t, disk, args...)
			web := sourcetest.New(t, file, sourcetest.Manners{})
			o := origins(t, t.TempDir(), 0)
			got := o.mustOffer(t, Request{Link: web.URL + "/disk"})
			if got.Size != int64(len(disk)) || got.Source.Bytes != int64(len(file)) || got.From == "" {
				t.Errorf("offered %+v", got)
			}
			looked, _ := web.Sent()
			out := filepath.Join(t.TempDir(), "out")
			said, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "raw", "nbd://"+served(t, o)+"/"+got.Name, out).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, disk) {
				t.Errorf("the bytes differ, or %v", err)
			}
			if sent, _ := web.Sent(); sent > int64(len(file))+1024 { // a byte for each look at what it is
				t.Errorf("%d bytes travelled, %d of them to look at it, of a file of %d", sent, looked, len(file))
			}
		})
	}
}

// TestGoesOnAfterAKill has the next process read what the one before has fetched:
// from the disk.
func TestGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	file, dir := as(t, contents(), "-O", "vmdk"), t.TempDir()
	web := sourcetest.New(t, file, sourcetest.Manners{})
	first := origins(t, dir, 0)
	id := first.mustOffer(t, Request{Link: web.URL}).Name
	want, err := first.read(t.Context(), id, 0, 4<<20)
	must(t, err)
	first.Close()
	web.Replace(file, sourcetest.Manners{Status: http.StatusServiceUnavailable})
	next := origins(t, dir, 10*time.Millisecond)
	if got, err := next.read(t.Context(), id, 0, 4<<20); err != nil || !bytes.Equal(got, want) || !bytes.Equal(got, contents()[:4<<20]) {
		t.Errorf("the bytes differ, or %v", err)
	}
}

// TestMarksOfAnotherBoot: what a machine that lost its power has written is not
// believed.
func TestMarksOfAnotherBoot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "marks")
	m, err := openMarks(path, 8)
	must(t, err)
	must(t, m.set(2, 3))
	must(t, m.f.Close())
	if m, err = openMarks(path, 8); err != nil || m.count() != 3 || !m.has(2) || m.has(5) {
		t.Fatalf("%d marks, %v", m.count(), err)
	}
	_, err = m.f.WriteAt([]byte("00000000"), 0)
	must(t, err)
	must(t, m.f.Close())
	if m, err = openMarks(path, 8); err != nil || m.count() != 0 || m.has(2) {
		t.Fatalf("%d marks of another boot, %v", m.count(), err)
	}
	must(t, m.f.Close())
}

// TestChangedSource has a source replaced while it is read: what was read stays,
// nothing of the other version is given out, and if the first one is put back it goes
// on.
func TestChangedSource(t *testing.T) {
	t.Parallel()
	disk := contents()
	web := sourcetest.New(t, disk, sourcetest.Manners{})
	o := origins(t, t.TempDir(), time.Minute)
	id := o.mustOffer(t, Request{Link: web.URL}).Name
	other := bytes.Repeat([]byte{7}, len(disk))
	web.Replace(other, sourcetest.Manners{})
	_, err := o.read(t.Context(), id, 22<<20, 4096)
	if !errors.Is(err, source.ErrChanged) {
		t.Fatalf("another version was read: %v", err)
	}
	if got, err := o.Get(id); err != nil || !strings.Contains(got.Waits, "not what it was") {
		t.Errorf("nobody is told: %+v, %v", got, err)
	}
	if b, err := o.read(t.Context(), id, 0, 4096); err != nil || !bytes.Equal(b, disk[:4096]) {
		t.Errorf("what was fetched before: %v", err)
	}
	web.Replace(disk[:20<<20], sourcetest.Manners{})
	if _, err := o.read(t.Context(), id, 22<<20, 4096); err == nil {
		t.Error("a shorter version was read")
	}
	web.Replace(disk, sourcetest.Manners{})
	if b, err := o.read(t.Context(), id, 22<<20, 4096); err != nil || !bytes.Equal(b, disk[22<<20:22<<20+4096]) {
		t.Errorf("put back: %v", err)
	}
	if got, err := o.Get(id); err != nil || got.Waits != "" {
		t.Errorf("it still waits: %+v, %v", got, err)
	}
}

// TestSourceAway has a source that is away for a while: who reads waits, and goes
// on; if it takes long, the read fails and may be repeated.
func TestSourceAway(t *testing.T) {
	t.Parallel()
	disk := contents()
	web := sourcetest.New(t, disk, sourcetest.Manners{})
	o := origins(t, t.TempDir(), time.Minute)
	id := o.mustOffer(t, Request{Link: web.URL}).Name
	web.Replace(disk, sourcetest.Manners{Status: http.StatusServiceUnavailable})
	done := make(chan error, 1)
	go func() {
		b, err := o.read(t.Context(), id, 21<<20, 4096)
		if err == nil && !bytes.Equal(b, disk[21<<20:21<<20+4096]) {
			err = errors.New("the bytes differ")
		}
		done <- err
	}()
	for {
		if got, err := o.Get(id); err != nil || strings.Contains(got.Waits, "503") {
			must(t, err)
			break
		}
		time.Sleep(time.Millisecond)
	}
	web.Replace(disk, sourcetest.Manners{})
	must(t, <-done)
	web.Replace(disk, sourcetest.Manners{Status: http.StatusServiceUnavailable})
	x, err := o.find(id)
	must(t, err)
	x.store.patience = 0
	if _, err := o.read(t.Context(), id, 23<<20, 4096); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("got %v", err)
	}
}

// TestSilentSource has a source that takes requests and says nothing. Each read fails in
// its time, those that wait for others' reads too, and goes on once the source speaks.
func TestSilentSource(t *testing.T) {
	t.Parallel()
	const patience = 2 * time.Second
	disk, dir := contents(), t.TempDir()
	web := sourcetest.New(t, disk, sourcetest.Manners{})
	first := origins(t, dir, time.Minute)
	id := first.mustOffer(t, Request{Link: web.URL}).Name
	first.Close()
	o := origins(t, dir, patience)
	web.Replace(disk, sourcetest.Manners{Silent: true})
	began, readers := time.Now(), 3*views
	done := make(chan error, readers)
	for n := range readers {
		go func() {
			_, err := o.read(t.Context(), id, 21<<20+int64(n%views)*chunk, 4096)
			done <- err
		}()
	}
	for range readers {
		if err := <-done; !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "nothing for") {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(began); took > 5*patience {
		t.Errorf("the last of them heard so after %s, with a patience of %s", took, patience)
	}
	if got, err := o.Get(id); err != nil || !strings.Contains(got.Waits, "nothing for") {
		t.Errorf("nobody is told: %+v, %v", got, err)
	}
	web.Replace(disk, sourcetest.Manners{})
	if b, err := o.read(t.Context(), id, 21<<20, 4096); err != nil || !bytes.Equal(b, disk[21<<20:21<<20+4096]) {
		t.Errorf("it does not go on: %v", err)
	}
}

// TestReaderPanics has a reader fail while it opens the disk: that request fails and
// nothing else does, and the next one opens the disk anew.
func TestReaderPanics(t *testing.T) {
	t.Parallel()
	disk, dir := contents(), t.TempDir()
	web := sourcetest.New(t, disk, sourcetest.Manners{})
	first := origins(t, dir, 0)
	id := first.mustOffer(t, Request{Link: web.URL}).Name
	first.Close()
	o := origins(t, dir, 0)
	x, err := o.find(id)
	must(t, err)
	have := x.store.marks.have
	for range views + 1 {
		x.store.marks.have = nil // whoever looks for a chunk falls
		if _, err := o.read(t.Context(), id, 0, 4096); !droveway.Is(err, droveway.Internal) || !strings.Contains(err.Error(), "a reader failed on it") {
			t.Errorf("got %v", err)
		}
		if x.Hole(t.Context(), 8<<20, 4096) {
			t.Error("it is called empty")
		}
	}
	x.store.marks.have = have
	if b, err := o.read(t.Context(), id, 0, 4096); err != nil || !bytes.Equal(b, disk[:4096]) {
		t.Errorf("it does not go on: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	disk := contents()
	for name, c := range map[string]struct {
		file    []byte
		manners sourcetest.Manners
		r       Request
		kind    droveway.Kind
	}{
		"no parts":     {disk, sourcetest.Manners{NoRanges: true}, Request{}, droveway.Unsupported},
		"no version":   {disk, sourcetest.Manners{NoTag: true}, Request{}, droveway.Unsupported},
		"not there":    {disk, sourcetest.Manners{Status: http.StatusNotFound}, Request{}, droveway.NotFound},
		"no image":     {bytes.Repeat([]byte("text"), 4096), sourcetest.Manners{}, Request{}, droveway.Invalid},
		"no such disk": {disk, sourcetest.Manners{}, Request{Disk: "7"}, droveway.NotFound},
		"no checksum":  {disk, sourcetest.Manners{}, Request{SHA256: "abc"}, droveway.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c.r.Link = sourcetest.New(t, c.file, c.manners).URL
			_, err := origins(t, dir, 0).Offer(t.Context(), c.r)
			if !droveway.Is(err, c.kind) {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("something is left: %v, %v", left, err)
			}
		})
	}
}

// TestPreflight has a Debian whose initramfs lacks virtio: it is refused, and the
// error says what would have to change.
func TestPreflight(t *testing.T) {
	t.Parallel()
	web := sourcetest.New(t, imagetest.Image(t, "../../inspect/testdata/split"), sourcetest.Manners{})
	_, err := origins(t, t.TempDir(), 0).Offer(t.Context(), Request{Link: web.URL})
	if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "virtio") {
		t.Errorf("got %v", err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	file := as(t, contents(), "-O", "qcow2")
	web := sourcetest.New(t, file, sourcetest.Manners{})
	o := origins(t, t.TempDir(), 0)
	quiet := func(int64, int64) {}
	right, wrong := o.mustOffer(t, Request{Link: web.URL, SHA256: strings.ToUpper(sum(file))}), o.mustOffer(t, Request{Link: web.URL, SHA256: sum(nil)})
	must(t, o.Verify(t.Context(), right.Name, quiet))
	if got, err := o.Get(right.Name); err != nil || got.Source.SHA256 != sum(file) || got.Fetched != int64(len(file)) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := o.Verify(t.Context(), wrong.Name, quiet); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), sum(file)) {
		t.Errorf("a wrong checksum: %v", err)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := sourcetest.New(t, contents(), sourcetest.Manners{})
	o := origins(t, dir, 0)
	used, unused := o.mustOffer(t, Request{Link: web.URL}).Name, o.mustOffer(t, Request{Link: web.URL}).Name
	keep := func(id string) bool { return id == used }
	must(t, o.Sweep(keep, time.Hour))
	if _, err := o.Get(unused); err != nil {
		t.Errorf("it was removed at once: %v", err)
	}
	must(t, o.Sweep(keep, 0))
	if _, err := o.Get(unused); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := o.Get(used); err != nil {
		t.Errorf("one that is used was removed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, unused)); !os.IsNotExist(err) {
		t.Errorf("files are left: %v", err)
	}
	if _, err := o.Get("../" + used); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a name that climbs: %v", err)
	}
}
