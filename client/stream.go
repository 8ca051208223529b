package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/droveway/droveway"
)

// messageMax bounds one message of a stream, in bytes.
const messageMax = 4 << 20

// message is one server-sent event.
type message struct {
	ID   string
	Data []byte
}

// stream makes a call that answers with server-sent events and calls fn with
// each. It returns nil when the server ended the stream.
func (c *Client) stream(ctx context.Context, k call, fn func(message) error) error {
	k.header = withHeader(k.header, "Accept", "text/event-stream")
	resp, err := c.send(ctx, k, nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	failed := error(nil)
	err = readStream(resp.Body, func(m message) error {
		failed = fn(m)
		return failed
	})
	if failed != nil || err == nil {
		return failed
	}
	return droveway.Errorf(droveway.Unavailable, "the stream of the server was cut: %w", err)
}

// readStream reads server-sent events as of the HTML standard, section 9.2,
// without retry and event names, which this API does not use.
func readStream(r io.Reader, fn func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, messageMax)
	var m message
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if m.Data != nil {
				if err := fn(m); err != nil {
					return err
				}
			}
			m.Data = nil
			continue
		}
		m.add(line)
		if len(m.Data) > messageMax {
			return bufio.ErrTooLong
		}
	}
	return lines.Err()
}

// add takes a line into the message. A line that begins with a colon is a
// comment that keeps the connection alive.
func (m *message) add(line []byte) {
	field, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "id":
		m.ID = string(value)
	case "data":
		if m.Data == nil {
			m.Data = []byte{}
		} else {
			m.Data = append(m.Data, '\n')
		}
		m.Data = append(m.Data, value...)
	}
}

func eventCall(since uint64, subject string) call {
	k := call{method: http.MethodGet, path: []string{"v1", "events"}}
	if subject != "" {
		k.query = url.Values{"subject": {subject}}
	}
	if since != FromNow {
		k.header = http.Header{"Last-Event-Id": {strconv.FormatUint(since, 10)}}
	}
	return k
}

func event(m message) (uint64, droveway.Event, error) {
	var e droveway.Event
	seq, err := strconv.ParseUint(m.ID, 10, 64)
	if err != nil {
		return 0, e, droveway.Errorf(droveway.Internal, "event %q has no number: %w", m.ID, err)
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return 0, e, droveway.Errorf(droveway.Internal, "read event %d: %w", seq, err)
	}
	return seq, e, nil
}
