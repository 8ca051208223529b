package kernel

import (
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/droveway/droveway"
)

// layout is where the running kernel keeps what the programs read, in bytes from
// the start of a struct. It differs from kernel to kernel, so it is read from the
// kernel's own description of its types.
type layout struct {
	family, protocol, port, peerPort int16 // of struct sock
	addr4, peer4, addr6, peer6       int16
	net, socket                      int16
	inum                             int16 // of struct net
	file                             int16 // of struct socket
	inode, number                    int16 // of struct file, struct inode
	sent, received                   int16 // of struct tcp_sock: next numbers
	sentBytes, receivedBytes         int16
	state                            int16
	seq                              int16 // of struct bpf_iter_meta
}

func readLayout() (layout, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return layout{}, droveway.Missing("btf", "the kernel does not describe its types (no /sys/kernel/btf/vmlinux): %v", err)
	}
	r := reader{spec: spec}
	l := layout{
		family: r.at("sock", "__sk_common.skc_family"), protocol: r.at("sock", "sk_protocol"),
		port: r.at("sock", "__sk_common.skc_num"), peerPort: r.at("sock", "__sk_common.skc_dport"),
		addr4: r.at("sock", "__sk_common.skc_rcv_saddr"), peer4: r.at("sock", "__sk_common.skc_daddr"),
		addr6: r.at("sock", "__sk_common.skc_v6_rcv_saddr"), peer6: r.at("sock", "__sk_common.skc_v6_daddr"),
		net: r.at("sock", "__sk_common.skc_net.net"), socket: r.at("sock", "sk_socket"),
		state: r.at("sock", "__sk_common.skc_state"),
		inum:  r.at("net", "ns.inum"),
		file:  r.at("socket", "file"),
		inode: r.at("file", "f_inode"), number: r.at("inode", "i_ino"),
		sent: r.at("tcp_sock", "snd_una"), received: r.at("tcp_sock", "rcv_nxt"),
		sentBytes: r.at("tcp_sock", "bytes_acked"), receivedBytes: r.at("tcp_sock", "bytes_received"),
		seq: r.at("bpf_iter_meta", "seq"),
	}
	return l, r.err
}

// reader finds members and keeps the first error.
type reader struct {
	spec *btf.Spec
	err  error
}

// at gives where a member is, through structs inside structs: "a.b".
func (r *reader) at(name, path string) int16 {
	var s *btf.Struct
	if err := r.spec.TypeByName(name, &s); err != nil {
		r.fail("struct %s: %v", name, err)
		return 0
	}
	members, total := s.Members, uint32(0)
	for part := range strings.SplitSeq(path, ".") {
		m, at, ok := member(members, part)
		if !ok || m.BitfieldSize != 0 {
			r.fail("struct %s has no plain member %s", name, path)
			return 0
		}
		total += at
		members = membersOf(m.Type)
	}
	if total > 1<<15-1 {
		r.fail("struct %s: member %s is too far from its start", name, path)
	}
	return int16(total)
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = droveway.Missing("btf", "the types of this kernel are not as expected: "+format, args...)
	}
}

// member looks for a name, also in members without one.
func member(all []btf.Member, name string) (btf.Member, uint32, bool) {
	for _, m := range all {
		if m.Name == name {
			return m, m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		if found, at, ok := member(membersOf(m.Type), name); ok {
			return found, m.Offset.Bytes() + at, true
		}
	}
	return btf.Member{}, 0, false
}

func membersOf(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}
