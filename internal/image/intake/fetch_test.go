package intake

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/sourcetest"
	"github.com/droveway/droveway/internal/image/stage"
)

// TestCuts fetches from a server that cuts each connection after 300 KiB: hardly a
// byte is sent twice.
func TestCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, disk(), sourcetest.Manners{CutAfter: 300 << 10})
	j := w.begin(t, Request{Name: "a", Link: s.URL + "/disk.raw?secret=1", SHA256: sum(disk())}).do(t, t.Context())
	r := result(t, j)
	if r.SHA256 != sum(disk()) || len(r.Notes) != 0 || len(r.Images) != 1 {
		t.Errorf("result %+v", r)
	}
	img := w.wantImage(t, "a", disk())
	if img.Source.Location != s.URL+"/disk.raw" || img.Source.SHA256 != sum(disk()) {
		t.Errorf("source %+v", img.Source)
	}
	if sent, answers := s.Sent(); sent > int64(len(disk()))+64<<10 || answers < 12 {
		t.Errorf("%d bytes were sent in %d answers", sent, answers)
	}
	if !w.events.seen["image.ready image/a"] {
		t.Errorf("events: %v", w.events.seen)
	}
	if left := w.left(t); len(left) != 3 { // the image, its description and its record
		t.Errorf("left: %v", left)
	}
}

// TestBeginsAnew fetches from servers that cannot go on for certain, and says so.
func TestBeginsAnew(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]sourcetest.Manners{
		"no parts": {NoRanges: true, CutAfter: 700 << 10, Cuts: 2}, "no tag": {NoTag: true, CutAfter: 700 << 10, Cuts: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, startStore(t))
			s := sourcetest.New(t, disk(), m)
			r := result(t, w.begin(t, Request{Name: "a", Link: s.URL}).do(t, t.Context()))
			if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "began anew") {
				t.Errorf("notes %q", r.Notes)
			}
			w.wantImage(t, "a", disk())
		})
	}
}

// breaking is a connection that fails after 512 KiB of an answer.
type breaking struct {
	http.RoundTripper
	err error
}

func (b breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(resp.Body, 512<<10), iotest.ErrReader(b.err)), resp.Body}
	}
	return resp, err
}

// TestRefusedInTheMidst tells a connection that is gone in the midst of a transfer, which
// is made anew, from a refusal, which is final.
func TestRefusedInTheMidst(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, c := range map[string]struct {
		err  error
		want droveway.JobState
	}{
		"gone":    {errors.New("connection reset by peer"), droveway.JobSucceeded},
		"refused": {droveway.Errorf(droveway.Invalid, "no such member"), droveway.JobFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			w.cfg.HTTP = &http.Client{Transport: breaking{w.cfg.HTTP.Transport, c.err}}
			s := sourcetest.New(t, disk(), sourcetest.Manners{})
			j := w.begin(t, Request{Name: "a", Link: s.URL}).do(t, t.Context())
			if j.State != c.want {
				t.Fatalf("the job %s: %s", j.State, j.Error)
			}
			if c.want == droveway.JobSucceeded {
				w.wantImage(t, "a", disk())
				return
			}
			if _, answers := s.Sent(); answers != 2 { // of the first byte, and of all
				t.Errorf("the server was asked %d times", answers)
			}
			w.wantRefused(t, j, "after 524288 bytes: no such member")
		})
	}
}

// TestEndlessCuts gives up on a server that never gets to the end.
func TestEndlessCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, disk(), sourcetest.Manners{NoRanges: true, CutAfter: 700 << 10})
	j := w.begin(t, Request{Name: "a", Link: s.URL}).do(t, t.Context())
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, "begun anew") {
		t.Errorf("the job %s: %s", j.State, j.Error)
	}
	if _, answers := s.Sent(); answers != 2*(maxRestarts+2)-1 {
		t.Errorf("%d answers: each attempt asks twice, and the last one once", answers)
	}
	w.wantNothing(t)
}

// TestAllIsHere has a transfer of which nothing but the end is missing, as after a
// kill: the server, which is gone, is not asked.
func TestAllIsHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, disk(), sourcetest.Manners{Status: http.StatusNotFound})
	k := w.begin(t, Request{Name: "a", Link: s.URL})
	f, err := w.stage.Open(k.Stage)
	must(t, err)
	must(t, f.Remember(stage.About{Link: s.URL, Tag: `"x"`, Size: int64(len(disk()))}))
	if err := f.Append(t.Context(), io.MultiReader(bytes.NewReader(disk()), iotest.ErrReader(io.ErrUnexpectedEOF)), nil); err == nil {
		t.Fatal("the transfer was not cut")
	}
	must(t, f.Close())
	result(t, k.do(t, t.Context()))
	w.wantImage(t, "a", disk())
	if _, answers := s.Sent(); answers > 0 {
		t.Errorf("the server was asked %d times", answers)
	}
}

// TestReplaced replaces the file in the midst of a transfer: no image is made of
// two halves.
func TestReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	other := disk()
	copy(other[1<<20:], "another")
	s := sourcetest.New(t, disk(), sourcetest.Manners{CutAfter: 1 << 20})
	k := w.begin(t, Request{Name: "a", Link: s.URL})
	f, err := w.stage.Open(k.Stage)
	must(t, err)
	r := fetchOnce(t, k)
	if err := r(f); !droveway.Is(err, droveway.Unavailable) || f.Offset() == 0 {
		t.Fatalf("%d bytes, %v", f.Offset(), err)
	}
	must(t, f.Close())
	s.Replace(other, sourcetest.Manners{})
	res := result(t, k.do(t, t.Context()))
	w.wantImage(t, "a", other)
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "changed") {
		t.Errorf("notes %q", res.Notes)
	}
}

// TestFails has sources that come to nothing: nothing is left. SYSTEMS 5.10.
func TestFails(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, c := range map[string]struct {
		file    []byte
		manners sourcetest.Manners
		req     Request
		says    string
	}{
		"another sum": {disk(), sourcetest.Manners{}, Request{SHA256: sum(nil)}, "as ordered"},
		"no image":    {[]byte(strings.Repeat("text ", 1000)), sourcetest.Manners{}, Request{}, "no disk image"},
		"gone":        {disk(), sourcetest.Manners{Status: 404}, Request{}, "404"},
		"down":        {disk(), sourcetest.Manners{Status: 503}, Request{}, "503"},
		"no disk 2":   {disk(), sourcetest.Manners{}, Request{Disk: "2"}, "no disk"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			w.cfg.Patience = 500 * time.Millisecond
			s := sourcetest.New(t, c.file, c.manners)
			c.req.Name, c.req.Link = "a", s.URL
			j := w.begin(t, c.req).do(t, t.Context())
			if j.State != droveway.JobFailed || !strings.Contains(j.Error, c.says) {
				t.Errorf("the job %s: %q, want that it says %q", j.State, j.Error, c.says)
			}
			w.wantNothing(t)
		})
	}
}

// TestGone has a server that is gone in the midst of a transfer, for good: the import
// fails once it has been patient, and nothing is left. SYSTEMS 5.10.
func TestGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	w.cfg.Patience = 500 * time.Millisecond
	s := sourcetest.New(t, disk(), sourcetest.Manners{Slow: 50 * time.Millisecond})
	k := w.begin(t, Request{Name: "a", Link: s.URL})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		await(t, func() bool { n, _ := s.Sent(); return n > 300<<10 })
		s.Vanish()
	}()
	j := k.do(t, t.Context())
	<-gone
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, "connection refused") || !strings.Contains(j.Error, s.URL) {
		t.Errorf("the job %s: %s", j.State, j.Error)
	}
	w.wantNothing(t)
}

const helperEnv = "DROVEWAY_INTAKE_HELPER" // directory and link

// fetchOnce makes the run of a step and gives a function that fetches once.
func fetchOnce(t *testing.T, k work) func(*stage.File) error {
	t.Helper()
	return func(f *stage.File) (err error) {
		steps := []job.Step[state]{{Name: "fetch", Do: func(ctx context.Context, r *run) error {
			err = (&transfer{work: k, r: r, f: f}).once(ctx)
			return nil
		}}}
		rec, e := job.NewRecord(steps)
		must(t, e)
		must(t, job.Execute(t.Context(), rec, steps, job.Env{Journal: memory{}, Log: slog.New(slog.DiscardHandler)}))
		return err
	}
}

// helpFetch fetches until it is killed.
func helpFetch() {
	dir, link, _ := strings.Cut(os.Getenv(helperEnv), " ")
	library, err := image.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	i, err := New(Config{Library: library, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	a, err := i.prepare(Request{Name: "a", Link: link}, "begun")
	if err != nil {
		panic(err)
	}
	k := work{i, a}
	steps := []job.Step[state]{{Name: "fetch", Do: k.fetch}}
	rec, err := job.NewRecord(steps)
	if err != nil {
		panic(err)
	}
	fmt.Println("begun")
	_ = job.Execute(context.Background(), rec, steps, job.Env{Journal: memory{}, Log: slog.New(slog.DiscardHandler)})
}

// TestKill kills a process with -9 in the midst of a transfer: another goes on with
// what was there at the last checkpoint.
func TestKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	file := append(disk(), make([]byte, 62<<20)...)
	s := sourcetest.New(t, file, sourcetest.Manners{Slow: 8 * time.Millisecond}) // 8 MiB/s
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+w.dir+" "+s.URL)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	id := (&Request{Name: "a", Link: s.URL}).fetched("begun")
	await(t, func() bool { return checkpoint(w.dir, id) > 8<<20 })
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	before, _ := s.Sent()
	s.Replace(file, sourcetest.Manners{})
	result(t, w.begin(t, Request{Name: "a", Link: s.URL}).do(t, t.Context()))
	w.wantImage(t, "a", file)
	after, _ := s.Sent()
	if again := after - before; again > int64(len(file))-8<<20 {
		t.Errorf("%d bytes were sent again of %d, though 8 MiB were there", again, len(file))
	}
}

// checkpoint is how far a transfer is that another process brings.
func checkpoint(dir, id string) int64 {
	var r struct{ Offset int64 }
	b, err := os.ReadFile(filepath.Join(dir, ".stage", id+".json"))
	if err != nil || json.Unmarshal(b, &r) != nil {
		return 0
	}
	return r.Offset
}

func await(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited a minute")
		}
	}
}

// TestCancel stops a transfer: nothing is left.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, disk(), sourcetest.Manners{Slow: 50 * time.Millisecond})
	k := w.begin(t, Request{Name: "a", Link: s.URL})
	rec, err := job.NewRecord(k.steps())
	must(t, err)
	rec.Job.Name = "image-import-1"
	asked := make(chan int, 1)
	go func() {
		await(t, func() bool { n, _ := s.Sent(); return n > 100<<10 })
		asked <- 1
	}()
	must(t, job.Execute(t.Context(), rec, k.steps(), job.Env{Journal: memory{}, Asked: asked, Log: slog.New(slog.DiscardHandler)}))
	if rec.Job.State != droveway.JobFailed {
		t.Errorf("the job %s", rec.Job.State)
	}
	w.wantNothing(t)
}

func TestUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	b, ctx := disk(), t.Context()
	size := int64(len(b))
	if _, err := w.Uploaded("a", "u"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("before: %v", err)
	}
	if n, err := w.Receive(ctx, "a", "u", 0, size, bytes.NewReader(b[:1000])); n != 1000 || !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("cut: %d, %v", n, err)
	}
	if n, err := w.Uploaded("a", "u"); n != 1000 || err != nil {
		t.Errorf("after the cut: %d, %v", n, err)
	}
	if _, err := w.Plan(ctx, Request{Name: "a", Upload: "u"}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a plan of half an upload: %v", err)
	}
	if n, err := w.Receive(ctx, "a", "u", 2000, size, bytes.NewReader(b[2000:])); n != 1000 || !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a gap: %d, %v", n, err)
	}
	if n, err := w.Receive(ctx, "a", "u", 1000, size, bytes.NewReader(b[1000:])); n != size || err != nil {
		t.Errorf("the rest: %d, %v", n, err)
	}
	p, err := w.Plan(ctx, Request{Name: "a", Upload: "u"})
	if err != nil || len(p.Images) != 1 || p.Source.SHA256 != sum(b) {
		t.Errorf("plan %+v, %v", p, err)
	}
	result(t, w.begin(t, Request{Name: "a", Upload: "u", SHA256: sum(b)}).do(t, ctx))
	w.wantImage(t, "a", b)
	if _, err := w.Receive(ctx, "a", "v", 0, 0, bytes.NewReader(b)); !droveway.Is(err, droveway.Exists) {
		t.Errorf("an upload for an image that is there: %v", err)
	}
	for _, b := range [][]byte{nil, b[:10]} { // each begins anew
		if n, err := w.Receive(ctx, "b", "u", 0, 0, bytes.NewReader(b)); n != int64(len(b)) || err != nil {
			t.Errorf("%d bytes of %d anew: %v", n, len(b), err)
		}
	}
	must(t, w.Abandon("b", "u"))
	if _, err := w.Uploaded("b", "u"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("abandoned: %v", err)
	}
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

// TestUploadIsBounded takes no more than was announced, and nothing that has no room.
// SYSTEMS 5.10.
func TestUploadIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	for size, want := range map[int64]droveway.Kind{4096: droveway.Invalid, 60 << 40: droveway.Unavailable, 1 << 50: droveway.Unavailable} {
		e := &endless{}
		if _, err := w.Receive(t.Context(), "a", "u", 0, size, e); !droveway.Is(err, want) || e.read > 8<<20 {
			t.Errorf("%d bytes were said: %v after %d bytes", size, err, e.read)
		}
		w.wantNothing(t)
	}
}

// TestUploadOfOne has a job that claims the name just before an upload is opened: what
// the job works on does not change.
func TestUploadOfOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	b, ctx := disk(), t.Context()
	_, err := w.Receive(ctx, "a", "u", 0, int64(len(b)), bytes.NewReader(b))
	must(t, err)
	f, err := w.stage.Open(staged("a", "u"))
	must(t, err)
	defer f.Close()
	must(t, w.cfg.Fleet.Images.Create(ctx, "a", droveway.Image{Meta: droveway.Meta{Name: "a"}, State: droveway.ImageFetching, Job: "j"}))
	if _, err := w.into(ctx, f, "a", 0, 7, strings.NewReader("another")); !droveway.Is(err, droveway.Exists) || f.SHA256() != sum(b) {
		t.Errorf("%v, and the upload has the sum %s", err, f.SHA256())
	}
}

// TestUploadComesToNothing leaves nothing of an upload of which nothing arrived, and
// keeps what arrived of another.
func TestUploadComesToNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	for name, size := range map[string]int64{"nothing arrives": 5, "no room": 1 << 60} {
		if n, err := w.Receive(t.Context(), "a", "u", 0, size, strings.NewReader("")); n != 0 || err == nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		w.wantNothing(t)
	}
	_, err := w.Receive(t.Context(), "a", "u", 0, 9, strings.NewReader("part"))
	if n, err2 := w.Receive(t.Context(), "a", "u", 4, 1<<60, strings.NewReader("x")); n != 4 || !full(err2) {
		t.Errorf("no room for the rest: %d, %v (%v)", n, err2, err)
	}
	if n, err := w.Uploaded("a", "u"); n != 4 || err != nil {
		t.Errorf("kept: %d, %v", n, err)
	}
}
