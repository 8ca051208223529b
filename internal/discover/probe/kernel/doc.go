// Package kernel learns of TCP connections from the kernel itself, with small
// eBPF programs: one at every change of state of a socket, and one that walks
// through the sockets that are there. The programs are put together here, so that
// no compiler is needed, with the member offsets of the running kernel.
//
// It loads programs into the kernel and reads what they write; it changes
// nothing else.
package kernel
