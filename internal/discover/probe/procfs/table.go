package procfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Socket is a line of /proc/net/tcp and its kin, proc_net_tcp of the kernel's
// Documentation/networking.
type Socket struct {
	Protocol      string // "tcp" or "udp"
	Local, Remote netip.AddrPort
	State         uint8 // of TCP; a UDP socket has that of one too
	Inode         uint64
}

// States of a socket.
const (
	established  = 1
	closed       = 7 // of UDP: it has no peer
	listenState  = 10
	maxTableLine = 4096
)

// Listening reports whether a socket waits for anybody.
func (s Socket) Listening() bool {
	return s.Protocol == "tcp" && s.State == listenState || s.Protocol == "udp" && s.State == closed
}

// Connected reports whether a socket has one peer.
func (s Socket) Connected() bool { return s.State == established }

// Tables reads the sockets of one protocol in the network namespace of a
// process.
func (p Proc) Tables(pid int, protocol string, fn func(Socket)) error {
	for _, name := range []string{protocol, protocol + "6"} {
		f, err := os.Open(filepath.Join(p.root, strconv.Itoa(pid), "net", name))
		if errors.Is(err, fs.ErrNotExist) && name != protocol {
			continue // without IPv6
		}
		if err != nil {
			return fmt.Errorf("read the %s sockets of process %d: %w", protocol, pid, err)
		}
		err = parseTable(f, protocol, fn)
		f.Close()
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("read the %s sockets of process %d: %w", protocol, pid, err)
		}
	}
	return nil
}

// parseTable reads a table. A line that is none is left out: kernels add columns
// and headers.
func parseTable(r io.Reader, protocol string, fn func(Socket)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, maxTableLine), maxTableLine)
	for lines.Scan() {
		if s, ok := parseSocket(lines.Bytes()); ok {
			s.Protocol = protocol
			fn(s)
		}
	}
	return lines.Err()
}

func parseSocket(line []byte) (s Socket, ok bool) {
	f := bytes.Fields(line)
	if len(f) < 10 {
		return s, false
	}
	local, ok1 := parseAddress(f[1])
	remote, ok2 := parseAddress(f[2])
	state, err1 := strconv.ParseUint(string(f[3]), 16, 8)
	inode, err2 := strconv.ParseUint(string(f[9]), 10, 64)
	s = Socket{Local: local, Remote: remote, State: uint8(state), Inode: inode}
	return s, ok1 && ok2 && err1 == nil && err2 == nil
}

// parseAddress reads 0100007F:1F90: words as the machine has them in memory.
func parseAddress(b []byte) (netip.AddrPort, bool) {
	address, rest, ok := bytes.Cut(b, []byte{':'})
	port, err := strconv.ParseUint(string(rest), 16, 16)
	if !ok || err != nil || len(address) != 8 && len(address) != 32 {
		return netip.AddrPort{}, false
	}
	var raw [16]byte
	for i := 0; i < len(address); i += 8 {
		word, err := strconv.ParseUint(string(address[i:i+8]), 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		binary.NativeEndian.PutUint32(raw[i/2:], uint32(word))
	}
	a, _ := netip.AddrFromSlice(raw[:len(address)/2])
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), true
}
