package nbd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/droveway/droveway"
)

// negotiate takes a fresh connection to the transmission phase and returns the
// size of the export in bytes.
//
//	greeting ─▶ client flags ─▶ NBD_OPT_GO ─▶ NBD_REP_INFO … ─▶ NBD_REP_ACK
func negotiate(rw io.ReadWriter, export string) (int64, error) {
	if len(export) > maxName {
		return 0, droveway.Errorf(droveway.Invalid, "export name of %d bytes: at most %d", len(export), maxName)
	}
	flags, err := readGreeting(rw)
	if err != nil {
		return 0, err
	}
	// The client's flags are the server's with the same meaning, in 32 bits.
	if err := binary.Write(rw, binary.BigEndian, uint32(flags&(flagFixedNewstyle|flagNoZeroes))); err != nil {
		return 0, droveway.Errorf(droveway.Unavailable, "answer the NBD greeting: %w", err)
	}
	if _, err := rw.Write(goOption(export)); err != nil {
		return 0, droveway.Errorf(droveway.Unavailable, "ask for NBD export %q: %w", export, err)
	}
	return readGo(rw, export)
}

func readGreeting(r io.Reader) (uint16, error) {
	var g struct {
		Init, Style uint64
		Flags       uint16
	}
	if err := binary.Read(r, binary.BigEndian, &g); err != nil {
		return 0, droveway.Errorf(droveway.Unavailable, "read the NBD greeting: %w", err)
	}
	switch {
	case g.Init != magicInit:
		return 0, droveway.Errorf(droveway.Invalid, "the peer is no NBD server: it greets with %#x", g.Init)
	case g.Style == magicOldstyle:
		return 0, droveway.Missing("nbd newstyle", "the NBD server speaks the oldstyle handshake only: use a newer one")
	case g.Style != magicOption:
		return 0, droveway.Errorf(droveway.Invalid, "the NBD server uses an unknown handshake %#x", g.Style)
	case g.Flags&flagFixedNewstyle == 0:
		return 0, droveway.Missing("nbd fixed newstyle", "the NBD server does not speak fixed newstyle: use a newer one")
	}
	return g.Flags, nil
}

// goOption is NBD_OPT_GO for an export, without requests for information: the
// size comes in any case.
func goOption(export string) []byte {
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.BigEndian, v) } // a bytes.Buffer takes everything
	put(magicOption)
	put(optGo)
	put(uint32(4 + len(export) + 2))
	put(uint32(len(export)))
	b.WriteString(export)
	put(uint16(0))
	return b.Bytes()
}

// readGo reads the replies to NBD_OPT_GO up to the acknowledgement.
func readGo(r io.Reader, export string) (int64, error) {
	size := int64(-1)
	for range maxOptReplies {
		kind, data, err := readOptReply(r)
		if err != nil {
			return 0, err
		}
		switch {
		case kind == repAck && size < 0:
			return 0, droveway.Errorf(droveway.Invalid, "the NBD server did not tell the size of export %q", export)
		case kind == repAck:
			return size, nil
		case kind == repInfo:
			if size, err = exportSize(data, size); err != nil {
				return 0, err
			}
		case kind&repError != 0:
			return 0, refused(kind, export, data)
		}
	}
	return 0, droveway.Errorf(droveway.Invalid, "the NBD server sent more than %d replies to one option", maxOptReplies)
}

func readOptReply(r io.Reader) (kind uint32, data []byte, err error) {
	var h struct {
		Magic               uint64
		Option, Kind, Bytes uint32
	}
	if err := binary.Read(r, binary.BigEndian, &h); err != nil {
		return 0, nil, droveway.Errorf(droveway.Unavailable, "read an NBD option reply: %w", err)
	}
	if h.Magic != magicOptReply || h.Option != optGo || h.Bytes > maxOptReply {
		return 0, nil, droveway.Errorf(droveway.Invalid, "broken NBD option reply: magic %#x, option %d, %d bytes", h.Magic, h.Option, h.Bytes)
	}
	data = make([]byte, h.Bytes)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, droveway.Errorf(droveway.Unavailable, "read an NBD option reply: %w", err)
	}
	return h.Kind, data, nil
}

// exportSize takes the size out of an NBD_INFO_EXPORT; other information leaves
// it as it was.
func exportSize(info []byte, was int64) (int64, error) {
	if len(info) < 2 || binary.BigEndian.Uint16(info) != infoExport {
		return was, nil
	}
	if len(info) != infoExportLen {
		return 0, droveway.Errorf(droveway.Invalid, "NBD export information has %d bytes, not %d", len(info), infoExportLen)
	}
	size := binary.BigEndian.Uint64(info[2:])
	if size > math.MaxInt64 {
		return 0, droveway.Errorf(droveway.Invalid, "NBD export of %d bytes: more than a disk can have", size)
	}
	return int64(size), nil
}

func refused(kind uint32, export string, data []byte) error {
	why := fmt.Sprintf("error %d", kind&^repError)
	if len(data) > 0 {
		why = fmt.Sprintf("%s: %q", why, data)
	}
	switch kind {
	case repErrUnknown:
		return droveway.Errorf(droveway.NotFound, "the NBD server has no export %q (%s)", export, why)
	case repErrPolicy:
		return droveway.Errorf(droveway.Permission, "the NBD server forbids export %q (%s)", export, why)
	}
	return droveway.Errorf(droveway.Unsupported, "the NBD server refused export %q (%s)", export, why)
}
