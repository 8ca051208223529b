package bootcheck

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
)

// Of a capture file: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html.
// QEMU writes it in the machine's order of bytes, which is little-endian here.
const (
	captureHeader = 24
	packetHeader  = 16
	maxPacket     = 64 << 10
	maxPackets    = 10000

	frameHeader = 14
	typeIPv4    = 0x0800
	typeARP     = 0x0806
)

// spoke reports whether a card has sent ARP or IPv4: then a system has set it up. A
// kernel sends IPv6 by itself as soon as a card is up, but nothing else.
func spoke(capture io.Reader, mac string) bool {
	from, err := net.ParseMAC(mac)
	if err != nil {
		return false
	}
	if _, err := io.CopyN(io.Discard, capture, captureHeader); err != nil {
		return false
	}
	head, packet := make([]byte, packetHeader), make([]byte, maxPacket)
	for range maxPackets {
		if _, err := io.ReadFull(capture, head); err != nil {
			return false
		}
		n := binary.LittleEndian.Uint32(head[8:])
		if n > maxPacket {
			return false
		}
		if _, err := io.ReadFull(capture, packet[:n]); err != nil {
			return false
		}
		if n < frameHeader || !bytes.Equal(packet[6:12], from) {
			continue
		}
		if kind := binary.BigEndian.Uint16(packet[12:]); kind == typeIPv4 || kind == typeARP {
			return true
		}
	}
	return false
}
