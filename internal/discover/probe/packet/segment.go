package packet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Flags of TCP, RFC 9293.
const (
	fin = 1 << iota
	syn
	rst
	_
	ack
)

// segment is what matters of a TCP header and the IP header before it.
type segment struct {
	from, to netip.AddrPort
	flags    byte
	seq, ack uint32
}

const (
	ip4Header = 20 // bytes, without options
	ip6Header = 40
	tcpHeader = 20
)

// parse reads a packet from its IP header on.
func parse(b []byte) (s segment, ok bool) {
	if len(b) < 1 {
		return s, false
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	}
	return s, false
}

func parse4(b []byte) (s segment, ok bool) {
	if len(b) < ip4Header || b[9] != unix.IPPROTO_TCP || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return s, false
	}
	length := int(b[0]&15) * 4
	if length < ip4Header || len(b) < length {
		return s, false
	}
	return tcp(b[length:], netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])))
}

// parse6 reads packets without extension headers: those that open connections
// have none.
func parse6(b []byte) (s segment, ok bool) {
	if len(b) < ip6Header || b[6] != unix.IPPROTO_TCP {
		return s, false
	}
	return tcp(b[ip6Header:], netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])))
}

func tcp(b []byte, from, to netip.Addr) (s segment, ok bool) {
	if len(b) < tcpHeader {
		return s, false
	}
	be := binary.BigEndian
	return segment{
		from:  netip.AddrPortFrom(from, be.Uint16(b)),
		to:    netip.AddrPortFrom(to, be.Uint16(b[2:])),
		seq:   be.Uint32(b[4:]),
		ack:   be.Uint32(b[8:]),
		flags: b[13],
	}, true
}
