// Package probe is the part of discovery that runs on every machine: it learns of
// connections from the best source that works there, finds out which processes
// they belong to, reports both, and emits patterns when told to.
//
//	capture.Source ─▶ ledger ─▶ batch ─▶ spool ─▶ Sender
//	survey (/proc) ──▲  ▲
//	emit ───────────────┘    ▲
//	conntrack ───────────────┘
//
// A probe in a container, that is in a PID namespace of its own, reports the
// process numbers of that namespace, as its /proc has them:
//
//   - It names the processes of its namespace, at once, and those of namespaces
//     inside it once a survey finds them holding a socket.
//   - It sees the connections of the network namespaces that these processes are
//     in. Of others, the kernel tells it too, but they are left out: they belong
//     to other hosts.
//   - In a network namespace that processes outside share with it, as that of the
//     machine, it sees their connections as well, with process 0: unknown.
//
// A probe that is to know all processes of a machine has to be in the machine's
// own PID namespace, and with its /proc.
//
// It reads the kernel and /proc, and writes its spool alone. The only traffic it
// makes is its reports and the connections of patterns.
package probe
