package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

var formats = []droveway.Format{droveway.Raw, droveway.QCOW2}

func TestCreate(t *testing.T) {
	t.Parallel()
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			p := openPool(t)
			for range 2 { // the second time it is there
				if err := p.Create(t.Context(), "web-1.data", format, 10<<30); err != nil {
					t.Fatal(err)
				}
			}
			path, got, err := p.Path("web-1.data")
			if err != nil || got != format {
				t.Fatalf("path %s, %s, %v", path, got, err)
			}
			if size, err := p.Size("web-1.data"); err != nil || size != 10<<30 {
				t.Errorf("size %d, %v", size, err)
			}
			if room := blocks(t, path); room > 1<<20 {
				t.Errorf("a blank volume takes %d bytes", room)
			}
			wantError(t, p.Create(t.Context(), "web-1.data", format, 11<<30), droveway.Exists, "web-1.data")
			if d := cmp.Diff([]string{"web-1.data." + string(format)}, names(t, p)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	for _, c := range []struct {
		name   string
		format droveway.Format
		size   int64
	}{
		{"", droveway.Raw, 512},
		{"../x", droveway.Raw, 512},
		{"a/b", droveway.Raw, 512},
		{".new-a", droveway.Raw, 512},
		{"a..b", droveway.Raw, 512},
		{"a", "vmdk", 512},
		{"a", droveway.Raw, 0},
		{"a", droveway.Raw, -512},
		{"a", droveway.Raw, 513},
		{"a", droveway.Raw, MaxSize + 512},
	} {
		if err := p.Create(t.Context(), c.name, c.format, c.size); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if left := names(t, p); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	disk := testDisk()
	for _, src := range formats {
		for _, dst := range formats {
			for _, size := range []int64{0, int64(len(disk)), 8 << 30} {
				t.Run(fmt.Sprintf("%s to %s of %d", src, dst, size), func(t *testing.T) {
					t.Parallel()
					testFill(t, disk, src, dst, size)
				})
			}
		}
	}
}

func testFill(t *testing.T, disk []byte, src, dst droveway.Format, size int64) {
	p := openPool(t)
	img := image(t, disk, src)
	var done int64
	err := p.Fill(t.Context(), "web-1.root", dst, size, bytes.NewReader(img), src, func(n int64) { done = n })
	if err != nil {
		t.Fatal(err)
	}
	if done != int64(len(img)) {
		t.Errorf("progress ended at %d of %d", done, len(img))
	}
	if d := cmp.Diff([]string{"web-1.root." + string(dst)}, names(t, p)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	path, _, err := p.Path("web-1.root")
	if err != nil {
		t.Fatal(err)
	}
	// The holes stay holes: 1.1 MiB of 3.5 are data.
	if room := blocks(t, path); room > 5<<19 {
		t.Errorf("the volume takes %d bytes", room)
	}
	if size == 0 {
		size = int64(len(disk))
	}
	if got, err := p.Size("web-1.root"); err != nil || got != size {
		t.Errorf("size %d, %v; want %d", got, err, size)
	}
	if size == int64(len(disk)) {
		sameBytes(t, "volume", contentsOf(t, p, "web-1.root"), disk)
	}
	unread := func() (int, error) { t.Error("read the image of a volume that is there"); return 0, io.EOF }
	if err := p.Fill(t.Context(), "web-1.root", dst, size, readFunc(unread), src, nil); err != nil {
		t.Errorf("again: %v", err)
	}
}

type readFunc func() (int, error)

func (f readFunc) Read([]byte) (int, error) { return f() }

func TestFillLeavesNothingBehindAFailure(t *testing.T) {
	t.Parallel()
	disk := testDisk()
	qcow := image(t, disk, droveway.QCOW2)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	lost, lose := context.WithCancelCause(t.Context())
	losing := io.MultiReader(bytes.NewReader(disk[:1<<20]), readFunc(func() (int, error) {
		lose(droveway.Errorf(droveway.Conflict, "the lease is lost"))
		return 0, context.Cause(lost)
	}))
	breaksOff := func(err error) io.Reader {
		return io.MultiReader(bytes.NewReader(disk[:1<<20]), readFunc(func() (int, error) { return 0, err }))
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		from io.Reader
		src  droveway.Format
		size int64
		kind droveway.Kind
		says string
	}{
		// A stream that ends within its length says so with io.ErrUnexpectedEOF.
		"torn stream":     {t.Context(), breaksOff(io.ErrUnexpectedEOF), droveway.Raw, 0, droveway.Unavailable, "after 1048576 bytes"},
		"failing stream":  {t.Context(), breaksOff(errors.New("link down")), droveway.Raw, 0, droveway.Unavailable, "link down"},
		"refused stream":  {t.Context(), breaksOff(droveway.Errorf(droveway.Invalid, "no such member")), droveway.Raw, 0, droveway.Invalid, "after 1048576 bytes: no such member"},
		"cancelled":       {stopped, bytes.NewReader(disk), droveway.Raw, 0, droveway.Unavailable, "canceled"},
		"stopped in it":   {lost, losing, droveway.Raw, 0, droveway.Unavailable, "the lease is lost"},
		"truncated":       {t.Context(), bytes.NewReader(qcow[:len(qcow)/2]), droveway.QCOW2, 0, droveway.Invalid, "truncated"},
		"wrong format":    {t.Context(), bytes.NewReader(disk), droveway.QCOW2, 0, droveway.Invalid, "no qcow2"},
		"unknown format":  {t.Context(), bytes.NewReader(disk), "vmdk", 0, droveway.Invalid, "vmdk"},
		"disk too small":  {t.Context(), bytes.NewReader(disk), droveway.Raw, 1 << 20, droveway.Invalid, "needs a disk of 4 MiB, and 1 are wanted"},
		"empty":           {t.Context(), bytes.NewReader(nil), droveway.Raw, 0, droveway.Invalid, "size 0"},
		"no room":         {t.Context(), breaksOff(syscall.ENOSPC), droveway.Raw, 0, droveway.Unavailable, "read the image"},
		"not whole sects": {t.Context(), bytes.NewReader(disk[:1000]), droveway.Raw, 0, droveway.Invalid, "whole sectors"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openPool(t)
			err := p.Fill(c.ctx, "a", droveway.Raw, c.size, c.from, c.src, nil)
			wantError(t, err, c.kind, c.says)
			if left := names(t, p); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestSecondFillWaitsForFirst(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	disk := testDisk()
	reading, goOn := make(chan struct{}), make(chan struct{})
	slow := io.MultiReader(readFunc(func() (int, error) { close(reading); <-goOn; return 0, io.EOF }), bytes.NewReader(disk))
	first := make(chan error)
	go func() { first <- p.Fill(t.Context(), "a", droveway.Raw, 0, slow, droveway.Raw, nil) }()
	<-reading

	hurry, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, p.Fill(hurry, "a", droveway.Raw, 0, nil, droveway.Raw, nil), droveway.Unavailable, "other work on volume a")

	second := make(chan error)
	go func() { second <- p.Fill(t.Context(), "a", droveway.Raw, 0, nil, droveway.Raw, nil) }()
	close(goOn)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "volume", contentsOf(t, p, "a"), disk)
}

// fullFile has room for so many bytes.
type fullFile struct {
	room int64
	err  error // of what does not fit
}

func (f fullFile) Name() string { return "/tmp/full" }

func (f fullFile) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.room {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: f.err}
	}
	return len(p), nil
}

func TestFullDiskSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for errno, c := range map[syscall.Errno]struct {
		kind droveway.Kind
		says []string
	}{
		syscall.ENOSPC: {droveway.Unavailable, []string{"at least 8 MiB are missing", "no space left"}},
		syscall.EDQUOT: {droveway.Unavailable, []string{"at least 8 MiB are missing", "quota exceeded"}},
		syscall.EPERM:  {droveway.Permission, []string{"write /tmp/full"}},
		syscall.EIO:    {droveway.Internal, []string{"write /tmp/full"}},
	} {
		s := spool{to: fullFile{2 << 20, errno}, hash: io.Discard, buf: make([]byte, spoolBuffer)}
		s.from = io.LimitReader(bytes.NewReader(noise(1, 10<<20)), 10<<20)
		var err error
		for err == nil && !s.eof {
			err = s.step(t.Context())
		}
		wantError(t, err, c.kind, c.says...)
	}
}

// helpFill fills a volume from its standard input.
func helpFill() {
	p, err := Open(os.Args[1], quiet())
	if err == nil {
		err = p.Fill(context.Background(), "a", droveway.QCOW2, 8<<20, os.Stdin, droveway.Raw, func(n int64) { fmt.Println(n) })
	}
	if err != nil {
		panic(err)
	}
	fmt.Println("filled")
}

// TestKillLeavesNoHalfVolume kills the filling process after each of its reports
// in turn: while it receives, converts, grows, renames, and after all.
func TestKillLeavesNoHalfVolume(t *testing.T) {
	t.Parallel()
	disk := testDisk()
	for reports := 1; ; reports++ {
		p := openPool(t)
		filled := killAfter(t, p.dir, disk, reports)
		p, err := Open(p.dir, quiet())
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range names(t, p) {
			if left != "a.qcow2" {
				t.Errorf("killed after report %d: left %s", reports, left)
			}
		}
		if _, _, err := p.Path("a"); err == nil {
			sameBytes(t, "killed volume", contentsOf(t, p, "a")[:len(disk)], disk)
		} else if filled {
			t.Errorf("killed after the end: %v", err)
		}
		if filled {
			return
		}
	}
}

// killAfter kills a filling helper after so many lines of its output and says
// whether it had filled by then.
func killAfter(t *testing.T, dir string, disk []byte, lines int) (filled bool) {
	t.Helper()
	cmd := helper("fill", dir)
	cmd.Stdin = bytes.NewReader(disk)
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
	return line == "filled"
}

func TestOpenRemovesWhatIsLeft(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	for _, left := range []string{".new-a-123", ".nbd-77"} {
		if err := os.MkdirAll(filepath.Join(p.dir, left), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(p.dir, left, "image"), []byte("half"))
	}
	write(t, filepath.Join(p.dir, "a.raw"), testDisk())
	p, err := Open(p.dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a.raw"}, names(t, p)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	for name, format := range map[string]droveway.Format{"b.root": droveway.QCOW2, "a.root": droveway.Raw} {
		if err := p.Create(t.Context(), name, format, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := p.Remove(t.Context(), "a.root"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := p.Size("a.root")
	wantError(t, err, droveway.NotFound, "a.root")
	wantError(t, p.Remove(t.Context(), "../"+strings.Repeat("x", 3)), droveway.Invalid)
	if free, err := p.Free(); err != nil || free <= 0 {
		t.Errorf("free %d, %v", free, err)
	}
}
