package conntrack

import (
	"encoding/binary"
	"net/netip"

	"github.com/droveway/droveway/internal/discover"
	"golang.org/x/sys/unix"
)

// Messages are as linux/netlink.h, nfnetlink.h and nfnetlink_conntrack.h have
// them, numbers in the machine's byte order unless said otherwise.
const (
	headerLen = 16 // nlmsghdr
	familyLen = 4  // nfgenmsg
	attrLen   = 4  // nlattr

	subsystem = 1 << 8        // NFNL_SUBSYS_CTNETLINK
	newEntry  = subsystem     // IPCTNL_MSG_CT_NEW
	getEntry  = subsystem + 1 // IPCTNL_MSG_CT_GET

	attrMask = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

	tupleOrig, tupleReply = 1, 2
	tupleIP, tupleProto   = 1, 2
	ip4Src, ip4Dst        = 1, 2
	ip6Src, ip6Dst        = 3, 4
	protoNum              = 1
	protoSrc, protoDst    = 2, 3
)

// request asks for all entries of the table.
func request() []byte {
	b := make([]byte, headerLen+familyLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], getEntry)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	return b
}

// translations gives those of the entries in what the kernel wrote that translate.
func translations(b []byte) (all []discover.Translation) {
	for len(b) >= headerLen {
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			return all
		}
		if binary.NativeEndian.Uint16(b[4:]) == newEntry && n >= headerLen+familyLen {
			if t, ok := entry(b[headerLen+familyLen : n]); ok {
				all = append(all, t)
			}
		}
		b = b[min(align(n), len(b)):]
	}
	return all
}

// entry reads an entry; false if it translates nothing, or is of no protocol with
// ports.
func entry(b []byte) (t discover.Translation, ok bool) {
	var orig, reply tuple
	attributes(b, func(kind uint16, value []byte) {
		switch kind {
		case tupleOrig:
			orig = readTuple(value)
		case tupleReply:
			reply = readTuple(value)
		}
	})
	name := protocol(orig.protocol)
	if name == "" || orig.protocol != reply.protocol || !orig.whole() || !reply.whole() {
		return t, false
	}
	// Replies come from where the first packet went in the end, and go to where it
	// then seemed to come from.
	t = discover.Translation{Protocol: name, Source: orig.src, Destination: orig.dst, NewSource: reply.dst, NewDestination: reply.src}
	return t, t.Source != t.NewSource || t.Destination != t.NewDestination
}

func protocol(n byte) string {
	switch n {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	}
	return ""
}

// tuple is one direction of an entry.
type tuple struct {
	protocol byte
	src, dst netip.AddrPort
}

func (t tuple) whole() bool {
	return t.src.Addr().IsValid() && t.dst.Addr().IsValid() && t.src.Port() != 0 && t.dst.Port() != 0
}

func readTuple(b []byte) (t tuple) {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	attributes(b, func(kind uint16, value []byte) {
		switch kind {
		case tupleIP:
			attributes(value, func(kind uint16, value []byte) {
				switch a, _ := netip.AddrFromSlice(value); kind {
				case ip4Src, ip6Src:
					src = a
				case ip4Dst, ip6Dst:
					dst = a
				}
			})
		case tupleProto:
			attributes(value, func(kind uint16, value []byte) {
				switch {
				case kind == protoNum && len(value) >= 1:
					t.protocol = value[0]
				case kind == protoSrc && len(value) >= 2:
					srcPort = binary.BigEndian.Uint16(value)
				case kind == protoDst && len(value) >= 2:
					dstPort = binary.BigEndian.Uint16(value)
				}
			})
		}
	})
	t.src, t.dst = netip.AddrPortFrom(src.Unmap(), srcPort), netip.AddrPortFrom(dst.Unmap(), dstPort)
	return t
}

// attributes calls f with each attribute, as far as they make sense.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= attrLen {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrLen || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&attrMask, b[attrLen:n])
		b = b[min(align(n), len(b)):]
	}
}

func align(n int) int { return (n + 3) &^ 3 }
