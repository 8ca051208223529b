package kernel

import (
	"github.com/cilium/ebpf/asm"
	"github.com/droveway/droveway/internal/discover/probe/pidns"
)

// changes is the program at the tracepoint inet_sock_set_state(sock, old, new).
//
//	─▶ SYN_SENT         remember the process; tell of it if it is new
//	─▶ LISTEN           tell
//	─▶ ESTABLISHED      tell, with the process that was remembered
//	ESTABLISHED ─▶      tell
//	CLOSE_WAIT ─▶ LAST_ACK  tell: this one names the process
//	SYN_SENT ─▶ other   forget: nobody answered
//
// Telling does not wake the probe, which looks several times a second, unless a
// process is new, which may be gone soon, or the buffer fills up.
func changes(l layout, raw bool, m maps, numbers pidns.Namespace) asm.Instructions {
	a := &assembler{layout: l, raw: raw}
	a.add(
		asm.LoadMem(sock, asm.R1, 0, asm.DWord),
		asm.LoadMem(before, asm.R1, 8, asm.DWord),
		asm.LoadMem(after, asm.R1, 16, asm.DWord),
	)
	a.process(numbers)
	a.add(
		asm.StoreMem(asm.RFP, stackSocket, sock, asm.DWord),
		asm.JEq.Imm(after, synSent, "connect"),
		asm.JEq.Imm(after, listen, "tell"),
		asm.JEq.Imm(after, established, "open"),
		asm.JEq.Imm(before, established, "tell"),
		asm.JEq.Imm(before, synSent, "fail"),
		asm.JNE.Imm(before, closeWait, "out"),
		asm.JEq.Imm(after, lastAck, "tell"),
		asm.Ja.Label("out"),
	)
	a.connect(m)
	a.open(m)
	a.tell(m)
	a.add(asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return())
	return a.Instructions
}

// process puts the current process on the stack: the thread group in the high
// half. A process that has no number in the namespace is 0: so is one of a
// namespace inside, of which the kernel does not tell here.
func (a *assembler) process(numbers pidns.Namespace) {
	if numbers.Initial() {
		a.add(
			asm.FnGetCurrentPidTgid.Call(),
			asm.StoreMem(asm.RFP, stackProcess, asm.R0, asm.DWord),
		)
		return
	}
	a.add(
		asm.LoadImm(asm.R1, int64(numbers.Device), asm.DWord),
		asm.LoadImm(asm.R2, int64(numbers.Inode), asm.DWord),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, stackProcess),
		asm.Mov.Imm(asm.R4, processBytes), // struct bpf_pidns_info: pid, tgid
		asm.FnGetNsCurrentPidTgid.Call(),  // stores 0 if it fails
	)
}

func (a *assembler) connect(m maps) {
	a.add(
		asm.LoadMem(asm.R1, asm.RFP, stackProcess, asm.DWord).WithSymbol("connect"),
		asm.RSh.Imm(asm.R1, 32),
		asm.StoreMem(asm.RFP, stackGroup, asm.R1, asm.DWord),
	)
	a.put(m.connecting.FD(), stackSocket)
	a.onMap(m.known.FD(), stackGroup)
	a.add(asm.FnMapLookupElem.Call(), asm.JNE.Imm(asm.R0, 0, "out"))
	a.put(m.known.FD(), stackGroup)
	a.add(asm.Ja.Label("tell"))
}

func (a *assembler) open(m maps) {
	a.add(asm.JNE.Imm(before, synSent, "tell").WithSymbol("open"))
	a.onMap(m.connecting.FD(), stackSocket)
	a.add(
		asm.FnMapLookupElem.Call(),
		asm.Mov.Imm(asm.R1, 0),
		asm.JEq.Imm(asm.R0, 0, "opener"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.StoreMem(asm.RFP, stackProcess, asm.R1, asm.DWord).WithSymbol("opener"),
	)
	a.onMap(m.connecting.FD(), stackSocket)
	a.add(asm.FnMapDeleteElem.Call(), asm.Ja.Label("tell"))

	a.add(asm.Mov.Imm(asm.R0, 0).WithSymbol("fail"))
	a.onMap(m.connecting.FD(), stackSocket)
	a.add(asm.FnMapDeleteElem.Call(), asm.Ja.Label("out"))
}

func (a *assembler) tell(m maps) {
	a.add(
		asm.LoadMapPtr(asm.R1, m.events.FD()).WithSymbol("tell"),
		asm.Mov.Imm(asm.R2, recordSize),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.Mov.Reg(record, asm.R0),
		asm.JNE.Imm(record, 0, "fill"),
	)
	a.count(m)
	a.add(
		asm.FnKtimeGetBootNs.Call().WithSymbol("fill"),
		asm.StoreMem(record, atTime, asm.R0, asm.DWord),
		asm.StoreMem(record, atSocket, sock, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, stackProcess, asm.DWord),
		asm.StoreMem(record, atProcess, asm.R1, asm.DWord),
		asm.StoreMem(record, atOld, before, asm.Half),
		asm.StoreMem(record, atNew, after, asm.Half),
		asm.Mov.Reg(asm.R1, record), asm.Add.Imm(asm.R1, atName),
		asm.Mov.Imm(asm.R2, nameSize),
		asm.FnGetCurrentComm.Call(),
	)
	a.fields()
	a.submit(m)
}

// count counts a record that found no room.
func (a *assembler) count(m maps) {
	a.add(asm.StoreImm(asm.RFP, stackZero, 0, asm.Word))
	a.onMap(m.lost.FD(), stackZero)
	a.add(
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Ja.Label("out"),
	)
}

// ends stores the addresses and ports of a socket's two ends.
func (a *assembler) ends() {
	l := a.layout
	a.copy(atFamily, sock, l.family, 2)
	a.copy(atPort, sock, l.port, 2)
	a.copy(atPeerPort, sock, l.peerPort, 2)
	a.copy(atAddr4, sock, l.addr4, 4)
	a.copy(atPeer4, sock, l.peer4, 4)
	a.copy(atAddr6, sock, l.addr6, 16)
	a.copy(atPeer6, sock, l.peer6, 16)
}

func (a *assembler) fields() {
	l := a.layout
	a.ends()
	a.copy(atProtocol, sock, l.protocol, 2)
	a.follow(l.net)
	a.copy(atNamespace, asm.R1, l.inum, 4)
	if a.raw {
		a.copy(atSent, sock, l.sent, 4)
		a.copy(atReceived, sock, l.received, 4)
		return
	}
	a.add(
		asm.StoreImm(record, atSent, 0, asm.Word),
		asm.StoreImm(record, atReceived, 0, asm.Word),
		asm.Mov.Reg(asm.R1, sock),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, "wake"),
	)
	a.copy(atSent, asm.R0, l.sent, 4)
	a.copy(atReceived, asm.R0, l.received, 4)
}

func (a *assembler) submit(m maps) {
	a.add(
		asm.LoadMapPtr(asm.R1, m.events.FD()).WithSymbol("wake"),
		asm.Mov.Imm(asm.R2, 0), // BPF_RB_AVAIL_DATA
		asm.FnRingbufQuery.Call(),
		asm.Mov.Imm(asm.R2, forceWakeup),
		asm.JGT.Imm(asm.R0, ringSize/2, "submit"),
		asm.JEq.Imm(after, synSent, "submit"),
		asm.JEq.Imm(after, listen, "submit"),
		asm.Mov.Imm(asm.R2, noWakeup),
		asm.Mov.Reg(asm.R1, record).WithSymbol("submit"),
		asm.FnRingbufSubmit.Call(),
		asm.Ja.Label("out"),
	)
}
