package discover

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
)

// AppendJSON appends a report as Decode reads it. Connections, of which a busy
// machine has thousands a second, are written without reflection.
func (r Report) AppendJSON(b []byte) ([]byte, error) {
	all := r.Connections
	r.Connections = nil
	text := bytes.NewBuffer(b)
	e := json.NewEncoder(text)
	e.SetEscapeHTML(false) // it would make texts longer than they may be
	if err := e.Encode(r); err != nil {
		return b, err
	}
	b = text.Bytes()
	if len(all) == 0 {
		return b, nil
	}
	const last = "}\n"
	b = append(b[:len(b)-len(last)], `,"connections":[`...)
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = all[i].appendJSON(b)
	}
	return append(b, "]}\n"...), nil
}

func (c *Connection) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), c.ID)
	b = appendText(append(b, `,"protocol":`...), c.Protocol)
	b = appendText(append(b, `,"direction":`...), string(c.Direction))
	b = appendAddress(append(b, `,"local":`...), c.Local)
	b = appendAddress(append(b, `,"remote":`...), c.Remote)
	if !c.Opened.IsZero() {
		b = appendTime(append(b, `,"opened":`...), c.Opened)
	}
	if !c.Closed.IsZero() {
		b = appendTime(append(b, `,"closed":`...), c.Closed)
	}
	if c.PID != 0 {
		b = strconv.AppendInt(append(b, `,"pid":`...), int64(c.PID), 10)
	}
	if c.ISN != 0 {
		b = strconv.AppendUint(append(b, `,"isn":`...), c.ISN, 10)
	}
	return append(b, '}')
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func appendAddress(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, `""`...)
	}
	return append(plain(a).AppendTo(append(b, '"')), '"')
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always has JSON
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
