package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// wire writes values as they go over the wire.
func wire(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		_ = binary.Write(&b, binary.BigEndian, v)
	}
	return b.Bytes()
}

func greeting() []byte {
	return wire(magicInit, magicOption, flagFixedNewstyle|flagNoZeroes)
}

func optReply(kind uint32, data []byte) []byte {
	return wire(magicOptReply, optGo, kind, uint32(len(data)), data)
}

func sizeInfo(size uint64) []byte { return wire(infoExport, size, uint16(1)) }

func simpleReply(errno uint32, cookie, data []byte) []byte {
	b := wire(magicSimple, errno, cookie)
	if errno == 0 {
		b = append(b, data...)
	}
	return b
}

// script is a server that says what it says, whatever it hears.
type script struct {
	io.Reader
	heard bytes.Buffer
}

func (s *script) Write(p []byte) (int, error) { return s.heard.Write(p) }

func TestNegotiate(t *testing.T) {
	t.Parallel()
	ack := optReply(repAck, nil)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		says []byte
		size int64
		kind droveway.Kind
		text string
	}{
		"good":             {says: join(greeting(), optReply(repInfo, sizeInfo(4096)), ack), size: 4096},
		"more information": {says: join(greeting(), optReply(repInfo, wire(uint16(3), uint64(0))), optReply(repInfo, sizeInfo(1)), ack), size: 1},
		"unknown reply":    {says: join(greeting(), optReply(77, nil), optReply(repInfo, sizeInfo(1)), ack), size: 1},
		"nothing":          {kind: droveway.Unavailable, text: "greeting"},
		"http":             {says: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), kind: droveway.Invalid, text: "no NBD server"},
		"oldstyle":         {says: wire(magicInit, magicOldstyle, uint64(0), uint32(0)), kind: droveway.Unsupported, text: "oldstyle"},
		"unknown style":    {says: wire(magicInit, uint64(1), uint16(1)), kind: droveway.Invalid, text: "unknown handshake"},
		"not fixed":        {says: wire(magicInit, magicOption, uint16(0)), kind: droveway.Unsupported, text: "fixed newstyle"},
		"no size":          {says: join(greeting(), ack), kind: droveway.Invalid, text: "size"},
		"short size":       {says: join(greeting(), optReply(repInfo, wire(infoExport, uint32(1)))), kind: droveway.Invalid, text: "6 bytes"},
		"negative size":    {says: join(greeting(), optReply(repInfo, sizeInfo(1<<63))), kind: droveway.Invalid, text: "more than a disk"},
		"unknown export":   {says: join(greeting(), optReply(repErrUnknown, []byte("no such"))), kind: droveway.NotFound, text: "no such"},
		"forbidden":        {says: join(greeting(), optReply(repErrPolicy, nil)), kind: droveway.Permission, text: "forbids"},
		"TLS wanted":       {says: join(greeting(), optReply(repError|5, nil)), kind: droveway.Unsupported, text: "error 5"},
		"wrong magic":      {says: join(greeting(), wire(uint64(9), optGo, repAck, uint32(0))), kind: droveway.Invalid, text: "broken"},
		"huge reply":       {says: join(greeting(), wire(magicOptReply, optGo, repInfo, uint32(1<<31))), kind: droveway.Invalid, text: "broken"},
		"endless":          {says: join(greeting(), bytes.Repeat(optReply(77, nil), maxOptReplies+1)), kind: droveway.Invalid, text: "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{Reader: bytes.NewReader(c.says)}
			size, err := negotiate(s, "disk")
			if droveway.KindOf(err) != c.kind || size != c.size {
				t.Fatalf("got %d, %v; want %d, %s", size, err, c.size, c.kind)
			}
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %q does not say %q", err, c.text)
			}
		})
	}
}

func TestNegotiateAsks(t *testing.T) {
	t.Parallel()
	s := &script{Reader: bytes.NewReader(append(greeting(), optReply(repErrUnknown, nil)...))}
	_, _ = negotiate(s, "disk")
	want := wire(uint32(3), magicOption, optGo, uint32(10), uint32(4), []byte("disk"), uint16(0))
	if !bytes.Equal(s.heard.Bytes(), want) {
		t.Errorf("asked\n%x, want\n%x", s.heard.Bytes(), want)
	}
	if _, err := negotiate(s, strings.Repeat("x", maxName+1)); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("long name: %v", err)
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add(append(append(greeting(), optReply(repInfo, sizeInfo(1<<30))...), optReply(repAck, nil)...))
	f.Add(append(greeting(), optReply(repErrUnknown, []byte("export not present"))...))
	f.Add(wire(magicInit, magicOldstyle, uint64(512), uint32(0)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, says []byte) {
		size, err := negotiate(&script{Reader: bytes.NewReader(says)}, "x")
		if (err == nil) != (droveway.KindOf(err) == "") || size < 0 {
			t.Errorf("size %d with error %v", size, err)
		}
		if droveway.KindOf(err) == droveway.Internal {
			t.Errorf("a server's words are no defect of ours: %v", err)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	cookie := []byte{0, 0, 0, 0, 0, 0, 0, 1}
	f.Add(simpleReply(0, cookie, pattern(16)))
	f.Add(simpleReply(5, cookie, nil))
	f.Add(simpleReply(0, []byte("12345678"), pattern(16)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, says []byte) {
		p := make([]byte, 16)
		remote, err := readReply(bytes.NewReader(says), 1, p)
		if err == nil && remote == 0 && !bytes.Equal(p, says[simpleLen:simpleLen+len(p)]) {
			t.Errorf("read %x from %x", p, says)
		}
	})
}
