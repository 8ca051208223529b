//go:build lab

package intake

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/source"
)

const (
	gateway   = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	accessKey = "lab-user"
	secretKey = "lab-secret-of-the-test"
	building  = 10 * time.Minute
)

// startS3 runs a real S3 server, and gives its URL.
func startS3(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "install", gateway)
	build.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the S3 server: %v\n%s", err, out)
	}
	must(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := ln.Addr().String()
	must(t, ln.Close())
	cmd := exec.Command(filepath.Join(dir, "versitygw"), "--port", address, "posix", filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the S3 server:\n%s", log.String())
		}
	})
	await(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			err = c.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// TestS3 imports from a real S3 server, through a link that was signed for one
// object, while the connection is cut again and again.
func TestS3(t *testing.T) {
	endpoint := startS3(t)
	web := &http.Transport{}
	t.Cleanup(web.CloseIdleConnections)
	c, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1", Transport: web,
	})
	must(t, err)
	must(t, c.MakeBucket(t.Context(), "images", minio.MakeBucketOptions{}))
	file := vmdk(t)
	_, err = c.PutObject(t.Context(), "images", "exports/one disk.vmdk", bytes.NewReader(file), int64(len(file)), minio.PutObjectOptions{})
	must(t, err)
	env := map[string]string{"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey}
	link := func(address string) (string, error) {
		s := source.S3{}
		var err error
		s.Bucket, s.Key, err = source.ParseS3(address)
		must(t, err)
		s.FromEnvironment(func(name string) string { return env[name] })
		return s.Link(t.Context())
	}
	w := newWorld(t, startStore(t))
	w.cfg.HTTP = source.NewClient(web)
	w.cfg.HTTP.Transport = &cutting{RoundTripper: w.cfg.HTTP.Transport, after: 200 << 10}
	signed, err := link("s3://images/exports/one disk.vmdk")
	must(t, err)
	r := Request{Name: "a", Link: signed, Shown: "s3://images/exports/one disk.vmdk", SHA256: sum(file)}
	p, err := w.Plan(t.Context(), r)
	if err != nil || !p.Resumable || len(p.Images) != 1 || p.Images[0].Size != int64(len(disk())) {
		t.Errorf("plan %+v, %v", p, err)
	}
	if res := result(t, w.begin(t, r).do(t, t.Context())); len(res.Notes) > 0 {
		t.Errorf("it did not go on: %q", res.Notes)
	}
	if img := w.wantImage(t, "a", nil); img.Source.Location != r.Shown {
		t.Errorf("source %+v", img.Source)
	}
	t.Run("refused", func(t *testing.T) { refuseS3(t, w, signed, link, env) })
}

// refuseS3 has links that must not work: to another object, to none, with a wrong
// key, and without one.
func refuseS3(t *testing.T, w *world, signed string, link func(string) (string, error), env map[string]string) {
	none, err := link("s3://images/none")
	must(t, err)
	env["AWS_SECRET_ACCESS_KEY"] = "wrong"
	wrong, err := link("s3://images/exports/one disk.vmdk")
	must(t, err)
	env["AWS_ACCESS_KEY_ID"] = ""
	env["AWS_SHARED_CREDENTIALS_FILE"] = filepath.Join(t.TempDir(), "none")
	public, err := link("s3://images/exports/one disk.vmdk")
	must(t, err)
	for name, c := range map[string]struct {
		link string
		kind droveway.Kind
	}{
		"another object": {strings.Replace(signed, "one", "two", 1), droveway.Permission},
		"no object":      {none, droveway.NotFound},
		"wrong key":      {wrong, droveway.Permission},
		"no key":         {public, droveway.Permission},
	} {
		_, err := w.Plan(t.Context(), Request{Name: "b", Link: c.link})
		if !droveway.Is(err, c.kind) {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
}

// cutting cuts the body of every answer that is not short.
type cutting struct {
	http.RoundTripper
	after int64
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &cutBody{resp.Body, c.after}
	}
	return resp, err
}

type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errors.New("cut by the test")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
