package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// The record of a socket that is there: that of a change of state where they say
// the same, with the numbers it started with and its inode.
const (
	atState   = atNew     // uint8
	atInode   = atProcess // uint64
	foundSize = atName
)

// Found is a TCP socket that is there.
type Found struct {
	Socket        uint64
	Inode         uint64 // 0: nobody holds it
	Listening     bool   // otherwise it is an established connection
	Local, Remote netip.AddrPort
	own, peer     uint32 // first numbers after those that count nothing
}

// ISN is the pair of initial sequence numbers, the opener's in the high 32 bits.
// The bytes acknowledged count the opener's own SYN, but not the other's.
func (f Found) ISN(outbound bool) uint64 {
	if outbound {
		return pair(f.own, f.peer-1)
	}
	return pair(f.peer-1, f.own-1)
}

// Walker lists the TCP sockets that are there, with the numbers they started
// with, which nothing but the kernel's memory tells.
type Walker struct{ iter *link.Iter }

// NewWalker loads the program.
func NewWalker() (*Walker, error) {
	l, err := readLayout()
	if err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, refused("iter/tcp", err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "droveway_walk", License: "GPL", Instructions: walk(l),
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "tcp",
	})
	if err != nil {
		return nil, refused("iter/tcp", err)
	}
	defer p.Close() // the attachment holds it
	iter, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, refused("iter/tcp", err)
	}
	return &Walker{iter}, nil
}

// Close unloads the program.
func (w *Walker) Close() error { return w.iter.Close() }

// Walk calls fn for every listening and established socket of the calling
// thread's network namespace.
func (w *Walker) Walk(fn func(Found)) error {
	r, err := w.iter.Open()
	if err != nil {
		return fmt.Errorf("walk through the sockets: %w", err)
	}
	defer r.Close()
	b := make([]byte, 64*foundSize)
	for {
		n, err := io.ReadFull(r, b[:foundSize])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk through the sockets: %d bytes: %w", n, err)
		}
		if f, ok := found(b[:foundSize]); ok {
			fn(f)
		}
	}
}

func found(b []byte) (f Found, ok bool) {
	le := binary.LittleEndian
	f.Local, f.Remote, ok = addresses(b, le.Uint16(b[atFamily:]))
	f.Listening = b[atState] == listen
	f.Socket, f.Inode = le.Uint64(b[atSocket:]), le.Uint64(b[atInode:])
	f.own, f.peer = le.Uint32(b[atSent:]), le.Uint32(b[atReceived:])
	return f, ok && (f.Listening || b[atState] == established)
}

// walk is the program of the iterator: meta, sock_common and user come in the
// context. It fills a record on its stack.
func walk(l layout) asm.Instructions {
	const onStack = -foundSize
	a := &assembler{layout: l}
	a.add(
		asm.LoadMem(before, asm.R1, 0, asm.DWord), // meta
		asm.LoadMem(asm.R1, asm.R1, 8, asm.DWord),
		asm.JEq.Imm(asm.R1, 0, "out"),
		asm.FnSkcToTcpSock.Call(), // 0 for those that wait or begin
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(sock, asm.R0),
		asm.Mov.Reg(record, asm.RFP), asm.Add.Imm(record, onStack),
		asm.StoreMem(record, atSocket, sock, asm.DWord),
	)
	for at := int16(0); at < foundSize; at += 8 {
		if at != atSocket {
			a.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(record, at, asm.R1, asm.DWord))
		}
	}
	a.ends()
	a.add(asm.LoadMem(asm.R1, sock, l.state, asm.Byte), asm.StoreMem(record, atState, asm.R1, asm.Byte))
	a.origin(atSent, l.sent, l.sentBytes)
	a.origin(atReceived, l.received, l.receivedBytes)
	a.add(
		asm.LoadMem(asm.R1, sock, l.socket, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, l.file, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, l.inode, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, l.number, asm.DWord),
		asm.StoreMem(record, atInode, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, before, l.seq, asm.DWord),
		asm.Mov.Reg(asm.R2, record),
		asm.Mov.Imm(asm.R3, foundSize),
		asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	)
	return a.Instructions
}

// origin stores a sequence number minus the bytes that it counted.
func (a *assembler) origin(to, number, bytes int16) {
	a.add(
		asm.LoadMem(asm.R1, sock, number, asm.Word),
		asm.LoadMem(asm.R2, sock, bytes, asm.DWord),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.StoreMem(record, to, asm.R1, asm.Word),
	)
}
