package packet

import "golang.org/x/sys/unix"

// filter lets through the TCP packets that open, close or refuse a connection,
// from the IP header on: a classic program of bpf(4). A jump says how many
// instructions it leaves out.
func filter() []unix.SockFilter {
	const (
		load8   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		load16  = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		indexed = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
		length4 = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH // x = 4*(byte&15)
		loadX   = unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM
		shift   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyBit  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		jump    = unix.BPF_JMP | unix.BPF_JA
		give    = unix.BPF_RET | unix.BPF_K
	)
	return []unix.SockFilter{
		{Code: load8, K: 0},
		{Code: shift, K: 4},
		{Code: equal, K: 6, Jt: 7},
		{Code: equal, K: 4, Jf: 12},
		{Code: load8, K: 9},
		{Code: equal, K: unix.IPPROTO_TCP, Jf: 10},
		{Code: load16, K: 6},
		{Code: anyBit, K: 0x1fff, Jt: 8}, // a later fragment
		{Code: length4, K: 0},
		{Code: jump, K: 3},
		{Code: load8, K: 6},
		{Code: equal, K: unix.IPPROTO_TCP, Jf: 4},
		{Code: loadX, K: ip6Header},
		{Code: indexed, K: 13},
		{Code: anyBit, K: fin | syn | rst, Jf: 1},
		{Code: give, K: 128},
		{Code: give, K: 0},
	}
}
