package qmp

import (
	"encoding/json"
	"fmt"
	"time"
)

// request is a command as it goes to the monitor. The id comes back in the
// response, so that a response nobody waits for any more is told apart.
type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// message is any line from the monitor: exactly one of its parts is there.
type message struct {
	Greeting *greeting       `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Time     *stamp          `json:"timestamp"`
	ID       uint64          `json:"id"`
}

type greeting struct {
	Version Version `json:"version"`
}

// Version is the version of the program behind the monitor.
type Version struct {
	QEMU struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
		Micro int `json:"micro"`
	} `json:"qemu"`
	Package string `json:"package"`
}

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
}

// Before reports whether the version is older than major.minor.
func (v Version) Before(major, minor int) bool {
	return v.QEMU.Major < major || v.QEMU.Major == major && v.QEMU.Minor < minor
}

type stamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

func (s *stamp) time() time.Time {
	if s == nil {
		return time.Time{}
	}
	return time.Unix(s.Seconds, s.Microseconds*int64(time.Microsecond))
}

// parse reads one line from the monitor.
func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("a line that is no QMP message: %w", err)
	}
	parts := 0
	for _, there := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if there {
			parts++
		}
	}
	if parts != 1 {
		return message{}, fmt.Errorf("a QMP message with %d of greeting, return, error and event: it has one", parts)
	}
	return m, nil
}
