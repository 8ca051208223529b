package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
)

// ErrChanged says that the source is not what it was when the transfer began, so
// that it has to begin anew.
var ErrChanged = errors.New("the source has changed")

// Remote is a file on a web server.
type Remote struct {
	Size   int64  // bytes; -1: the server does not say
	Tag    string // strong validator of the contents: an ETag or a date; empty: none
	Ranges bool   // the server gives parts

	link   string
	client *http.Client
	ctx    context.Context // of ReadAt, which has none of its own

	silence time.Duration
}

const maxRedirects = 10

// NewClient makes a client that follows redirects, but never to where a secret
// would travel in the clear, nor from a wider network into a narrower one.
func NewClient(transport *http.Transport) *http.Client { return newClient(transport, isOwn) }

func newClient(transport *http.Transport, own func(netip.Addr) bool) *http.Client {
	return &http.Client{Transport: newScoped(transport, own), CheckRedirect: func(to *http.Request, via []*http.Request) error {
		to.Header.Del("Referer") // it has the query, which may be a signature
		switch {
		case len(via) >= maxRedirects:
			return droveway.Errorf(droveway.Invalid, "more than %d redirects", maxRedirects)
		case to.URL.Scheme == "http" && via[0].URL.Scheme == "https":
			return droveway.Errorf(droveway.Invalid, "a redirect from https to http: give the http address itself if you trust it")
		}
		return nil
	}}
}

// Check tells whether a link can be fetched; Invalid if not.
func Check(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return droveway.Errorf(droveway.Invalid, "source %q: an address as https://host/path is needed", Shown(link))
	}
	return nil
}

// Shown is a link without what may be secret: user, password and query.
func Shown(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return "an address that cannot be read"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Open asks a server for the first byte of a file, which tells the rest about it.
// Errors: NotFound, Permission, Invalid for another refusal and for sizes that no
// disk has, Unavailable if it may be worth another attempt.
func Open(ctx context.Context, client *http.Client, link string) (*Remote, error) {
	return open(ctx, client, link, silence)
}

func open(ctx context.Context, client *http.Client, link string, silence time.Duration) (*Remote, error) {
	if err := Check(link); err != nil {
		return nil, err
	}
	r := &Remote{link: link, client: client, ctx: ctx, silence: silence}
	resp, err := r.get(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r.Size, r.Tag, r.Ranges = resp.ContentLength, strong(resp.Header), false
	if resp.StatusCode == http.StatusPartialContent {
		part, err := parseRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return nil, err
		}
		r.Size, r.Ranges = part.total, part.total > 0
	}
	if r.Size > format.MaxSize {
		return nil, droveway.Errorf(droveway.Invalid, "%s has %d bytes: no image has more than %d", Shown(link), r.Size, int64(format.MaxSize))
	}
	return r, nil
}

// get asks for the bytes from first to last, or to the end if last is negative. It
// fails if the server says nothing for long, and so does reading the body.
func (r *Remote) get(ctx context.Context, first, last int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.link, nil)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "source %s: its address cannot be used", Shown(r.link))
	}
	to := ""
	if last >= 0 {
		to = strconv.FormatInt(last, 10)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", first, to))
	req.Header.Set("Accept-Encoding", "identity") // ranges are of the file, not of a compressed form
	if r.Tag != "" {
		req.Header.Set("If-Range", r.Tag)
	}
	w := watch(withTrail(ctx), r.silence)
	resp, err := r.client.Do(req.WithContext(w.ctx))
	if err != nil {
		err = w.why(withoutLink(err))
		w.stop()
		// A refusal of our own has a kind; a server that is not there has none.
		return nil, droveway.Errorf(droveway.KindOr(err, droveway.Unavailable), "fetch %s: %w", Shown(r.link), err)
	}
	resp.Body = w.body(resp.Body)
	if err := refusal(resp, r.link); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// withoutLink drops the address, which may hold secrets, from an error.
func withoutLink(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func refusal(resp *http.Response, link string) error {
	kind := droveway.Invalid
	switch s := resp.StatusCode; {
	case s == http.StatusOK, s == http.StatusPartialContent:
		return nil
	case s == http.StatusNotFound, s == http.StatusGone:
		kind = droveway.NotFound
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		kind = droveway.Permission
	case s >= 500, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		kind = droveway.Unavailable
	case s == http.StatusRequestedRangeNotSatisfiable:
		return droveway.Errorf(droveway.Invalid, "%s is empty, or shorter than it was: give a disk image", Shown(link))
	}
	return droveway.Errorf(kind, "%s: the server answers %s", Shown(link), resp.Status)
}

// sure is by how much a date must be older than the answer that gives it.
const sure = time.Minute

// strong gives a validator with which parts can be put together: a strong tag, or a
// date that is clearly older than the answer. Within the second of its date a file
// can change again, RFC 9110, section 8.8.2.2.
func strong(h http.Header) string {
	v := validator(h)
	if strings.HasPrefix(v, `"`) {
		return v
	}
	modified, err := http.ParseTime(v)
	now, again := http.ParseTime(h.Get("Date"))
	if err != nil || again != nil || now.Sub(modified) < sure {
		return ""
	}
	return v
}

// validator gives what If-Range may hold, RFC 9110, section 13.1.5: a strong tag,
// else a date.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// piece is a Content-Range, RFC 9110, section 14.4; total is -1 if it is unknown.
type piece struct{ first, last, total int64 }

var rangeText = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$`)

func parseRange(text string) (piece, error) {
	m := rangeText.FindStringSubmatch(text)
	if m == nil {
		return piece{}, droveway.Errorf(droveway.Invalid, "the server answers with the range %q, which makes no sense", text)
	}
	var p piece
	p.first, _ = strconv.ParseInt(m[1], 10, 64)
	p.last, _ = strconv.ParseInt(m[2], 10, 64)
	p.total = -1
	if m[3] != "*" {
		p.total, _ = strconv.ParseInt(m[3], 10, 64)
	}
	if p.last < p.first || p.total >= 0 && p.last >= p.total {
		return piece{}, droveway.Errorf(droveway.Invalid, "the server answers with the range %q, which makes no sense", text)
	}
	return p, nil
}

// CanGoOn reports whether a transfer that was cut can go on where it was: the
// server must give parts, and tell whether they are of the same contents.
func (r *Remote) CanGoOn() bool { return r.Ranges && r.Tag != "" }

// From reads the file from a place on. ErrChanged says that its contents are not
// those of the Tag any more. The caller closes it.
func (r *Remote) From(ctx context.Context, off int64) (io.ReadCloser, error) {
	resp, err := r.get(ctx, off, -1)
	if err != nil {
		return nil, err
	}
	if err := r.checkPart(resp, off); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// checkPart checks that an answer is the part from off on.
func (r *Remote) checkPart(resp *http.Response, off int64) error {
	if resp.StatusCode == http.StatusOK {
		if off == 0 {
			return nil
		}
		return ErrChanged // RFC 9110: the whole, since it does not have that tag any more
	}
	part, err := parseRange(resp.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return err
	case part.first != off:
		return droveway.Errorf(droveway.Invalid, "%s: asked for byte %d on, the server gives %d on", Shown(r.link), off, part.first)
	case r.Size >= 0 && part.total != r.Size, r.Tag != "" && validator(resp.Header) != r.Tag:
		return ErrChanged
	}
	return nil
}

// Known is a file that was opened before: each answer is held against what it was
// then, so that nothing is read of another version. silence is how long its server
// may send nothing.
func Known(client *http.Client, link, tag string, size int64, silence time.Duration) *Remote {
	return &Remote{Size: size, Tag: tag, Ranges: true, link: link, client: client, ctx: context.Background(), silence: silence}
}

// Read fills p from off on. ErrChanged says that the contents are not those of the
// Tag any more. A server that falls silent, or hardly gives anything, is Unavailable.
func (r *Remote) Read(ctx context.Context, p []byte, off int64) error {
	ctx, cancel := r.within(ctx, len(p))
	defer cancel()
	resp, err := r.get(ctx, off, off+int64(len(p))-1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK { // even from the first byte on: who asked for a part has no use for the rest
		return r.checkWhole(resp)
	}
	if err := r.checkPart(resp, off); err != nil {
		return err
	}
	if _, err := io.ReadFull(resp.Body, p); err != nil {
		return droveway.Errorf(droveway.Unavailable, "fetch %s: the answer ended: %w", Shown(r.link), err)
	}
	return nil
}

// trickle is how many bytes a second are the least that counts as an answer.
const trickle = 16 << 10

// within bounds the time for a part of n bytes: a server that gives a byte now and then
// is never silent.
func (r *Remote) within(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	most := r.silence + time.Duration(n)*time.Second/trickle
	return context.WithTimeoutCause(ctx, most, droveway.Errorf(droveway.Unavailable, "the server has not sent %d bytes within %s", n, most))
}

// checkWhole tells why a server gives the whole file to somebody who asked for a
// part of it.
func (r *Remote) checkWhole(resp *http.Response) error {
	if validator(resp.Header) == r.Tag && resp.ContentLength == r.Size {
		return droveway.Errorf(droveway.Unavailable, "%s: the server gives no parts any more", Shown(r.link))
	}
	return ErrChanged
}

// ReadAt reads a part, to look into a file without fetching it. Its time is bounded as
// that of Read.
func (r *Remote) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.Size >= 0 && off >= r.Size {
		return 0, io.EOF
	}
	ctx, cancel := r.within(r.ctx, len(p))
	defer cancel()
	resp, err := r.get(ctx, off, off+int64(len(p))-1)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := r.checkPart(resp, off); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(resp.Body, p)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && (r.Size < 0 || off+int64(n) >= r.Size):
		err = io.EOF
	case err != nil && err != io.EOF: // a connection that was cut, too
		err = droveway.Errorf(droveway.KindOr(err, droveway.Unavailable), "fetch %s: %w", Shown(r.link), err)
	}
	return n, err
}
