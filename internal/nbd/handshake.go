package nbd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"

	"github.com/droveway/droveway"
)

// handshake is a client that has not begun to read.
//
//	greeting ─▶ client flags ─▶ options … ─▶ NBD_OPT_GO or NBD_OPT_EXPORT_NAME
//	                             └ NBD_OPT_STARTTLS comes first, if the server has a certificate
type handshake struct {
	server     *Server
	raw        net.Conn
	conn       net.Conn // raw, or TLS above it
	secure     bool
	zeroes     bool // the client wants them
	structured bool
	name       string
}

// run gives the export that the client has chosen; nil if it has left.
func (h *handshake) run(ctx context.Context) (Export, error) {
	if err := h.greet(); err != nil {
		return nil, err
	}
	for range maxOptions {
		o, err := readOption(h.conn)
		if err != nil {
			return nil, err
		}
		export, done, err := h.option(ctx, o)
		if done || err != nil {
			return export, err
		}
	}
	return nil, droveway.Errorf(droveway.Invalid, "the client sent more than %d options", maxOptions)
}

func (h *handshake) greet() error {
	b := binary.BigEndian.AppendUint64(nil, magicInit)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
	if _, err := h.conn.Write(b); err != nil {
		return gone(err)
	}
	var flags [4]byte
	if _, err := io.ReadFull(h.conn, flags[:]); err != nil {
		return gone(err)
	}
	f := binary.BigEndian.Uint32(flags[:])
	if f&^uint32(flagFixedNewstyle|flagNoZeroes) != 0 || f&uint32(flagFixedNewstyle) == 0 {
		return droveway.Errorf(droveway.Invalid, "the client answers the greeting with the flags %#x: fixed newstyle is needed", f)
	}
	h.zeroes = f&uint32(flagNoZeroes) == 0
	return nil
}

func gone(err error) error {
	return droveway.Errorf(droveway.Unavailable, "NBD handshake: %w", err)
}

// option is what a client asks for.
type option struct {
	kind uint32
	data []byte
	size uint32 // of the data; more than maxOption: they were read away
}

func readOption(r io.Reader) (option, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return option{}, gone(err)
	}
	if m := binary.BigEndian.Uint64(head[:]); m != magicOption {
		return option{}, droveway.Errorf(droveway.Invalid, "broken NBD option: magic %#x", m)
	}
	o := option{kind: binary.BigEndian.Uint32(head[8:]), size: binary.BigEndian.Uint32(head[12:])}
	if o.size > maxOption {
		if o.size > maxRead {
			return o, droveway.Errorf(droveway.Invalid, "NBD option %d of %d bytes", o.kind, o.size)
		}
		if _, err := io.CopyN(io.Discard, r, int64(o.size)); err != nil {
			return o, gone(err)
		}
		return o, nil
	}
	o.data = make([]byte, o.size)
	if _, err := io.ReadFull(r, o.data); err != nil {
		return o, gone(err)
	}
	return o, nil
}

// option answers one option. done: the handshake is over.
func (h *handshake) option(ctx context.Context, o option) (export Export, done bool, err error) {
	insecure := h.server.TLS != nil && !h.secure
	switch {
	case o.kind == optAbort:
		_ = h.reply(o, repAck, nil) // the client need not wait for it
		return nil, true, nil
	case o.kind == optStartTLS && insecure && o.size == 0:
		return nil, false, h.startTLS(ctx, o)
	case o.kind == optExportName && insecure:
		return nil, true, droveway.Errorf(droveway.Permission, "the client asks for an export without TLS")
	case insecure && o.kind != optStartTLS:
		return nil, false, h.reply(o, repErrNeedsTLS, nil)
	case o.size > maxOption:
		return nil, false, h.reply(o, repErrTooBig, nil)
	case o.kind == optExportName:
		export, err = h.old(ctx, o)
		return export, true, err
	case o.kind == optGo, o.kind == optInfo:
		return h.choose(ctx, o)
	case o.kind == optStructured && o.size == 0:
		h.structured = true
		return nil, false, h.reply(o, repAck, nil)
	case o.kind == optStructured:
		return nil, false, h.reply(o, repErrInvalid, nil)
	}
	return nil, false, h.reply(o, repErrUnsup, nil)
}

// startTLS goes over to TLS. What came before it counts no more.
func (h *handshake) startTLS(ctx context.Context, o option) error {
	if err := h.reply(o, repAck, nil); err != nil {
		return err
	}
	c := tls.Server(h.raw, h.server.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return droveway.Errorf(droveway.Permission, "TLS with the NBD client: %w", err)
	}
	h.conn, h.secure, h.structured = c, true, false
	return nil
}

// choose answers NBD_OPT_GO and NBD_OPT_INFO.
func (h *handshake) choose(ctx context.Context, o option) (Export, bool, error) {
	name, wants, ok := parseGo(o.data)
	if !ok {
		return nil, false, h.reply(o, repErrInvalid, nil)
	}
	export, err := h.server.Open(ctx, name)
	if err != nil {
		kind := repErrUnknown
		if !droveway.Is(err, droveway.NotFound) {
			kind = repErrPolicy
		}
		return nil, false, h.reply(o, kind, []byte(err.Error()))
	}
	info := binary.BigEndian.AppendUint16(nil, infoExport)
	info = binary.BigEndian.AppendUint64(info, uint64(export.Size()))
	info = binary.BigEndian.AppendUint16(info, h.flags())
	if err := h.reply(o, repInfo, info); err != nil {
		return nil, true, err
	}
	for _, w := range wants {
		if w != infoBlockSize {
			continue
		}
		if err := h.reply(o, repInfo, blockSizes()); err != nil {
			return nil, true, err
		}
	}
	if err := h.reply(o, repAck, nil); err != nil || o.kind == optInfo {
		return nil, err != nil, err
	}
	h.name = name
	return export, true, nil
}

// blockSizes tells the least, the best and the most bytes to ask for.
func blockSizes() []byte {
	b := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{1, preferred, maxRead} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func (h *handshake) flags() uint16 {
	f := exportHasFlags | exportReadOnly | exportSendFlush | exportMulti
	if h.structured {
		f |= exportSendDF
	}
	return f
}

// parseGo takes NBD_OPT_GO apart: the name, and which information is wanted.
func parseGo(b []byte) (name string, wants []uint16, ok bool) {
	if len(b) < 6 {
		return "", nil, false
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > maxName || int64(len(b)) < 4+n+2 {
		return "", nil, false
	}
	name, b = string(b[4:4+n]), b[4+n:]
	count := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) != 2*count {
		return "", nil, false
	}
	for ; len(b) > 0; b = b[2:] {
		wants = append(wants, binary.BigEndian.Uint16(b))
	}
	return name, wants, true
}

// old answers NBD_OPT_EXPORT_NAME, to which there is no way to say no.
func (h *handshake) old(ctx context.Context, o option) (Export, error) {
	export, err := h.server.Open(ctx, string(o.data))
	if err != nil {
		return nil, err
	}
	h.name = string(o.data)
	b := binary.BigEndian.AppendUint64(nil, uint64(export.Size()))
	b = binary.BigEndian.AppendUint16(b, h.flags())
	if h.zeroes {
		b = append(b, make([]byte, zeroesLen)...)
	}
	if _, err := h.conn.Write(b); err != nil {
		return nil, gone(err)
	}
	return export, nil
}

func (h *handshake) reply(o option, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicOptReply)
	b = binary.BigEndian.AppendUint32(b, o.kind)
	b = binary.BigEndian.AppendUint32(b, kind)
	data = data[:min(len(data), maxName)]
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	if _, err := h.conn.Write(append(b, data...)); err != nil {
		return gone(err)
	}
	return nil
}
