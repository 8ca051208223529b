package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/droveway/droveway"
)

func uploadCall(method, image, upload string) call {
	return call{method: method, path: []string{"v1", "images", image, "upload", upload}}
}

// Uploaded tells how many bytes of an upload have arrived; NotFound if there is
// none.
func (c *Client) Uploaded(ctx context.Context, image, upload string) (int64, error) {
	var s UploadState
	err := c.run(ctx, uploadCall(http.MethodGet, image, upload), &s)
	return s.Offset, err
}

// Upload brings size bytes to the server, as an upload from which StartImport makes
// an image. It goes on where an earlier call of the same name was cut, and gives up
// when nothing has arrived for a minute. progress is told the bytes that have been
// sent in all.
func (c *Client) Upload(ctx context.Context, image, upload string, from io.ReaderAt, size int64, progress func(done int64)) error {
	heard := time.Now()
	for {
		offset, err := c.Uploaded(ctx, image, upload)
		if droveway.Is(err, droveway.NotFound) {
			offset, err = 0, nil
		}
		if err == nil && offset == size {
			return nil
		}
		if err == nil {
			part := &told{r: io.NewSectionReader(from, offset, size-offset), done: offset, tell: progress, heard: &heard}
			err = c.sendPart(ctx, image, upload, offset, size, part, size-offset)
		}
		if err == nil {
			return nil
		}
		if err := c.pause(ctx, err, heard); err != nil {
			return err
		}
	}
}

// pause is again, but waits for a connection that the server still believes in, and
// not if the server has answered that it has no room.
func (c *Client) pause(ctx context.Context, err error, heard time.Time) error {
	if droveway.Is(err, droveway.Conflict) {
		err = droveway.Errorf(droveway.Unavailable, "%w", err)
	} else if errors.Unwrap(err) == nil { // an answer; what did not arrive has a cause
		return err
	}
	return again(ctx, err, heard)
}

// UploadStream brings a stream of unknown length to the server. It cannot go on
// after a cut: the stream cannot be read again.
func (c *Client) UploadStream(ctx context.Context, image, upload string, from io.Reader, progress func(done int64)) error {
	var heard time.Time
	return c.sendPart(ctx, image, upload, 0, 0, &told{r: from, tell: progress, heard: &heard}, -1)
}

// sendPart sends a part of an upload, length bytes long, or until the stream ends if
// that is negative.
func (c *Client) sendPart(ctx context.Context, image, upload string, offset, size int64, from io.Reader, length int64) error {
	k := uploadCall(http.MethodPut, image, upload)
	k.header = http.Header{"Content-Type": {"application/octet-stream"}, "Expect": {"100-continue"}}
	k.query = url.Values{"offset": {strconv.FormatInt(offset, 10)}}
	if size > 0 {
		k.query.Set("size", strconv.FormatInt(size, 10))
	}
	resp, err := c.send(ctx, k, from, length)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	var s UploadState
	if err := json.NewDecoder(io.LimitReader(resp.Body, replyMax)).Decode(&s); err != nil {
		return droveway.Errorf(droveway.Unavailable, "read the server's answer to the upload of %s: %w", image, err)
	}
	return nil
}

// told is a reader that tells how much was read.
type told struct {
	r     io.Reader
	done  int64
	tell  func(int64)
	heard *time.Time
}

func (t *told) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.done += int64(n)
		*t.heard = time.Now()
		t.tell(t.done)
	}
	return n, err
}
