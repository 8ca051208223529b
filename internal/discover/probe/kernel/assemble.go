package kernel

import "github.com/cilium/ebpf/asm"

// Places on a program's stack.
const (
	stackSocket  = -8
	stackProcess = -16
	stackGroup   = -24
	stackPointer = -32
	stackZero    = -40
)

// Flags of bpf_ringbuf_submit, of include/uapi/linux/bpf.h.
const (
	noWakeup    = 1
	forceWakeup = 2
)

// Registers that survive a call. The struct sock is in r6, the record in r7, the
// states before and after in r8 and r9.
const (
	sock   = asm.R6
	record = asm.R7
	before = asm.R8
	after  = asm.R9
)

// assembler puts a program together. A raw program may not follow pointers by
// itself: it copies with bpf_probe_read_kernel.
type assembler struct {
	asm.Instructions
	layout layout
	raw    bool
}

func (a *assembler) add(ins ...asm.Instruction) { a.Instructions = append(a.Instructions, ins...) }

// copy copies size bytes at an offset of the struct that base points to into the
// record.
func (a *assembler) copy(to int16, base asm.Register, from int16, size int32) {
	if !a.raw {
		for done := int32(0); done < size; {
			part, bytes := word(size - done)
			a.add(
				asm.LoadMem(asm.R1, base, from+int16(done), part),
				asm.StoreMem(record, to+int16(done), asm.R1, part),
			)
			done += bytes
		}
		return
	}
	a.add(
		asm.Mov.Reg(asm.R3, base), asm.Add.Imm(asm.R3, int32(from)),
		asm.Mov.Reg(asm.R1, record), asm.Add.Imm(asm.R1, int32(to)),
		asm.Mov.Imm(asm.R2, size),
		asm.FnProbeReadKernel.Call(),
	)
}

func word(size int32) (asm.Size, int32) {
	switch {
	case size >= 8:
		return asm.DWord, 8
	case size >= 4:
		return asm.Word, 4
	}
	return asm.Half, 2
}

// follow loads the pointer at an offset of the struct sock into r1.
func (a *assembler) follow(from int16) {
	if !a.raw {
		a.add(asm.LoadMem(asm.R1, sock, from, asm.DWord))
		return
	}
	a.add(
		asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, stackPointer),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Reg(asm.R3, sock), asm.Add.Imm(asm.R3, int32(from)),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R1, asm.RFP, stackPointer, asm.DWord),
	)
}

// onMap prepares a call with a map and a key on the stack.
func (a *assembler) onMap(fd int, key int32) {
	a.add(asm.LoadMapPtr(asm.R1, fd), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, key))
}

// put stores the process of the stack in a map.
func (a *assembler) put(fd int, key int32) {
	a.onMap(fd, key)
	a.add(
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, stackProcess),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
	)
}
