package source

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client has connections of its own, which end with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return NewClient(tr)
}

func file() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 20_000) }

func TestParts(t *testing.T) {
	t.Parallel()
	want := file()
	s := sourcetest.New(t, want, sourcetest.Manners{})
	r, err := Open(t.Context(), client(t), s.URL+"/disk")
	must(t, err)
	if r.Size != int64(len(want)) || !r.CanGoOn() {
		t.Fatalf("%d bytes, can go on: %t", r.Size, r.CanGoOn())
	}
	for _, at := range []int64{0, 7, r.Size - 5} {
		p := make([]byte, 100)
		n, err := r.ReadAt(p, at)
		if !bytes.Equal(p[:n], want[at:min(at+100, r.Size)]) || err != nil && err != io.EOF {
			t.Errorf("at %d: %d bytes differ (%v)", at, n, err)
		}
		body, err := r.From(t.Context(), at)
		must(t, err)
		got, err := io.ReadAll(body)
		must(t, err)
		must(t, body.Close())
		if !bytes.Equal(got, want[at:]) {
			t.Errorf("from %d on: %d bytes differ", at, len(got))
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), r.Size); err != io.EOF {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestChanged notices that a file was replaced, of the same length or another.
func TestChanged(t *testing.T) {
	t.Parallel()
	other := bytes.ToUpper(file())
	for name, c := range map[string]struct {
		file    []byte
		manners sourcetest.Manners
	}{
		"same length": {other, sourcetest.Manners{}}, "longer": {append(other, 'x'), sourcetest.Manners{}},
		"no tag any more": {other, sourcetest.Manners{NoTag: true}}, "no parts any more": {file(), sourcetest.Manners{NoRanges: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sourcetest.New(t, file(), sourcetest.Manners{})
			r, err := Open(t.Context(), client(t), s.URL)
			must(t, err)
			s.Replace(c.file, c.manners)
			if _, err := r.From(t.Context(), 100); !errors.Is(err, ErrChanged) {
				t.Errorf("%v, want that it has changed", err)
			}
		})
	}
}

func TestNoParts(t *testing.T) {
	t.Parallel()
	s := sourcetest.New(t, file(), sourcetest.Manners{NoRanges: true})
	r, err := Open(t.Context(), client(t), s.URL)
	must(t, err)
	if r.Ranges || r.CanGoOn() || r.Size != int64(len(file())) {
		t.Errorf("%+v", r)
	}
	body, err := r.From(t.Context(), 0)
	must(t, err)
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, file()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// liar answers with headers and a status of the test's choice.
func liar(t *testing.T, status int, headers ...string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestRefused has servers that refuse, and such that lie. SYSTEMS 5.10.
func TestRefused(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.RedirectHandler("http://127.0.0.1/", http.StatusFound))
	t.Cleanup(secure.Close)
	for name, c := range map[string]struct {
		link string
		kind droveway.Kind
		says string
	}{
		"no scheme":      {"disk.img", droveway.Invalid, "https://host/path"},
		"file":           {"file:///etc/shadow", droveway.Invalid, "https://host/path"},
		"none":           {liar(t, 404), droveway.NotFound, "404"},
		"forbidden":      {liar(t, 403), droveway.Permission, "403"},
		"busy":           {liar(t, 503), droveway.Unavailable, "503"},
		"teapot":         {liar(t, 418), droveway.Invalid, "418"},
		"empty":          {liar(t, 416), droveway.Invalid, "empty"},
		"odd range":      {liar(t, 206, "Content-Range", "bytes 5-1/3"), droveway.Invalid, "makes no sense"},
		"no range":       {liar(t, 206), droveway.Invalid, "makes no sense"},
		"8 EiB":          {liar(t, 206, "Content-Range", "bytes 0-0/900000000000000000"), droveway.Invalid, "no image has more"},
		"endless":        {liar(t, 302, "Location", "/again"), droveway.Invalid, "redirects"},
		"nobody listens": {"http://127.0.0.1:1/", droveway.Unavailable, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), client(t), c.link)
			if droveway.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v of kind %q, want %q that says %q", err, droveway.KindOf(err), c.kind, c.says)
			}
		})
	}
	t.Run("to the clear", func(t *testing.T) {
		c := NewClient(secure.Client().Transport.(*http.Transport))
		if _, err := Open(t.Context(), c, secure.URL); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "from https to http") {
			t.Errorf("%v", err)
		}
	})
}

// TestWrongPart has a server that gives another part than was asked for.
func TestWrongPart(t *testing.T) {
	t.Parallel()
	r, err := Open(t.Context(), client(t), liar(t, 206, "Content-Range", "bytes 0-0/1000", "ETag", `"x"`))
	must(t, err)
	if _, err := r.From(t.Context(), 500); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

// TestSilence has a server that falls silent in the midst of an answer.
func TestSilence(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		<-stop
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(stop) })
	r, err := Open(t.Context(), client(t), s.URL)
	must(t, err)
	r.silence = 50 * time.Millisecond
	body, err := r.From(t.Context(), 0)
	must(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	if string(got) != "some" || !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "nothing for") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSilentServer has servers that never answer, and that answer a byte at a time.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=0-0" {
			w.Header().Set("Content-Range", "bytes 0-999/1000")
			w.WriteHeader(http.StatusPartialContent)
			for range 999 {
				_, _ = io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		<-stop
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(stop) })
	_, err := open(t.Context(), client(t), s.URL, 50*time.Millisecond)
	if !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "nothing for") {
		t.Errorf("no answer: %v", err)
	}
	r := &Remote{Size: 1000, link: s.URL, client: client(t), ctx: t.Context(), silence: 100 * time.Millisecond}
	if _, err := r.ReadAt(make([]byte, 1000), 0); !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "has not sent 1000 bytes") {
		t.Errorf("a byte at a time: %v", err)
	}
	if err := r.Read(t.Context(), make([]byte, 1000), 0); !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "has not sent 1000 bytes") {
		t.Errorf("a byte at a time of a file that is known: %v", err)
	}
}

// TestSlowReader takes its time between reads, which is not the server's fault.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	s := sourcetest.New(t, file(), sourcetest.Manners{})
	r, err := open(t.Context(), client(t), s.URL, 100*time.Millisecond)
	must(t, err)
	body, err := r.From(t.Context(), 0)
	must(t, err)
	defer body.Close()
	for range 3 {
		_, err := io.ReadFull(body, make([]byte, 64<<10))
		must(t, err)
		time.Sleep(150 * time.Millisecond)
	}
}

// TestDates has servers that tell of their contents by a date alone: if it is of
// just now, the file can still change within it.
func TestDates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		headers []string
		goesOn  bool
	}{
		"old":       {[]string{"Last-Modified", now.Add(-time.Hour).UTC().Format(http.TimeFormat)}, true},
		"just now":  {[]string{"Last-Modified", now.Add(-time.Second).UTC().Format(http.TimeFormat)}, false},
		"to come":   {[]string{"Last-Modified", now.Add(time.Hour).UTC().Format(http.TimeFormat)}, false},
		"no date":   {[]string{"Last-Modified", "yesterday"}, false},
		"weak tag":  {[]string{"ETag", `W/"x"`}, false},
		"both":      {[]string{"ETag", `"x"`, "Last-Modified", now.UTC().Format(http.TimeFormat)}, true},
		"old, weak": {[]string{"ETag", `W/"x"`, "Last-Modified", now.Add(-time.Hour).UTC().Format(http.TimeFormat)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Open(t.Context(), client(t), liar(t, 206, append(c.headers, "Content-Range", "bytes 0-0/1000")...))
			must(t, err)
			if r.CanGoOn() != c.goesOn {
				t.Errorf("it can go on: %t, by %q", r.CanGoOn(), r.Tag)
			}
		})
	}
}

// TestSecrets looks for the secrets of a link in what people see.
func TestSecrets(t *testing.T) {
	t.Parallel()
	link := "http://user:password@127.0.0.1:1/disk?X-Signature=secret#x"
	_, err := Open(t.Context(), client(t), link)
	for _, text := range []string{Shown(link), err.Error()} {
		for _, secret := range []string{"user", "password", "secret", "Signature"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows %s", text, secret)
			}
		}
	}
	if want := "http://127.0.0.1:1/disk"; Shown(link) != want {
		t.Errorf("shown as %s, want %s", Shown(link), want)
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes 0-0/1")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseRange(text)
		if err == nil && (p.first < 0 || p.last < p.first || p.total >= 0 && p.last >= p.total) {
			t.Errorf("%q gives %+v", text, p)
		}
	})
}
