package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

// callTimeout bounds a call that does not stream.
const callTimeout = 30 * time.Second

const (
	replyMax   = 64 << 20
	problemMax = 64 << 10
)

// Client talks to one server. Its methods may be called at the same time.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// Dial connects to an address, as net.Dialer does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// New makes a client; it does not connect.
func New(c Context) (*Client, error) {
	return NewVia(c, (&net.Dialer{Timeout: 5 * time.Second}).DialContext)
}

// NewVia makes a client that connects in a way of its own.
func NewVia(c Context, dial Dial) (*Client, error) {
	base, err := url.Parse(c.Server)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, droveway.Errorf(droveway.Invalid, "server %q: give an https URL such as https://server:7443", c.Server)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			return nil, droveway.Errorf(droveway.Invalid, "the CA for server %s holds no PEM certificate", c.Server)
		}
	}
	return &Client{base: base, token: c.Token, http: &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dial,
			TLSClientConfig:       conf,
			TLSHandshakeTimeout:   5 * time.Second,
			ExpectContinueTimeout: 5 * time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       time.Minute,
		},
		// A redirect would carry the token to a place nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one operation of the API.
type call struct {
	method string
	path   []string // segments, escaped here
	query  url.Values
	in     any // JSON body, nil: none
	header http.Header
}

// run makes a call that answers with JSON, which it reads into out unless that
// is nil.
func (c *Client) run(ctx context.Context, k call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if k.in != nil {
		raw, err := json.Marshal(k.in)
		if err != nil {
			return droveway.Errorf(droveway.Invalid, "%s %s: %w", k.method, strings.Join(k.path, "/"), err)
		}
		body = bytes.NewReader(raw)
		k.header = withHeader(k.header, "Content-Type", "application/json")
	}
	resp, err := c.send(ctx, k, body, -1)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, replyMax)).Decode(out); err != nil {
		return droveway.Errorf(droveway.Unavailable, "read the server's answer to %s %s: %w", k.method, resp.Request.URL.Path, err)
	}
	return nil
}

// send makes a call and gives the answer of a successful one, whose body the
// caller closes.
func (c *Client) send(ctx context.Context, k call, body io.Reader, size int64) (*http.Response, error) {
	u := c.base.JoinPath(escaped(k.path)...)
	u.RawQuery = k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "make the request %s %s: %w", k.method, u.Path, err)
	}
	if size >= 0 {
		req.ContentLength = size
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer drain(resp.Body)
		return nil, problem(resp)
	}
	return resp, nil
}

func escaped(path []string) []string {
	out := make([]string, len(path))
	for i, p := range path {
		out[i] = url.PathEscape(p)
	}
	return out
}

func withHeader(h http.Header, name, value string) http.Header {
	if h == nil {
		h = http.Header{}
	}
	h.Set(name, value)
	return h
}

// drain empties and closes a body, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, problemMax)
	_ = body.Close()
}

// unreached tells apart a server that does not answer and one that is not the
// right one.
func (c *Client) unreached(err error) error {
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return droveway.Errorf(droveway.Permission,
			"the server at %s shows a certificate that the CA of the context did not sign for this name: %w", c.base.Host, cert)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return droveway.Errorf(droveway.Unavailable, "reach the server at %s: %w", c.base.Host, err)
}

// problem makes the error of an answer: the kind that the server gave, or, for
// an answer of something between, the one that its status suggests.
func problem(resp *http.Response) error {
	var p Problem
	kind := kindOfStatus(resp.StatusCode)
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media == "application/problem+json" && json.NewDecoder(io.LimitReader(resp.Body, problemMax)).Decode(&p) == nil && p.Kind != "" {
		return &droveway.Error{Kind: p.Kind, Message: p.Detail, Feature: p.Feature}
	}
	return droveway.Errorf(kind, "%s %s: the server answered %s", resp.Request.Method, resp.Request.URL.Path, resp.Status)
}

func kindOfStatus(status int) droveway.Kind {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return droveway.Permission
	case http.StatusNotFound:
		return droveway.NotFound
	case http.StatusConflict:
		return droveway.Conflict
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return droveway.Unavailable
	}
	if status < http.StatusInternalServerError {
		return droveway.Invalid
	}
	return droveway.Internal
}

// Request names a request, so that sending it again does not do it again.
// Empty: a name of its own.
type Request string

func (r Request) header() http.Header {
	if r == "" {
		r = Request(rand.Text())
	}
	return withHeader(nil, "Idempotency-Key", string(r))
}

// start makes a call that the server answers with a job.
func (c *Client) start(ctx context.Context, k call, r Request) (droveway.Job, error) {
	var j droveway.Job
	k.header = r.header()
	err := c.run(ctx, k, &j)
	return j, err
}

// get asks for one thing.
func get[T any](ctx context.Context, c *Client, path ...string) (T, error) {
	var out T
	err := c.run(ctx, call{method: http.MethodGet, path: path}, &out)
	return out, err
}

// list asks for many.
func list[T any](ctx context.Context, c *Client, path ...string) ([]T, error) {
	l, err := get[List[T]](ctx, c, path...)
	return l.Items, err
}
