// Package probe is the part of discovery that runs on every machine: it learns of
// connections from the best source that works there, finds out which processes
// they belong to, reports both, and emits patterns when told to.
//
//	capture.Source ─▶ ledger ─▶ batch ─▶ spool ─▶ Sender
//	survey (/proc) ──▲  ▲
//	emit ───────────────┘
//
// It reads the kernel and /proc, and writes its spool alone. The only traffic it
// makes is its reports and the connections of patterns.
package probe
