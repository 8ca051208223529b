// Package discover finds out who talks to whom, through address translation.
//
// Probes on the hosts report connections and processes; this package joins what
// both ends of a connection saw. The kinds of evidence, best first: the pair of
// TCP initial sequence numbers; a pattern of connections that a probe emitted and
// the other end saw; the timing of natural traffic; the translating box's own
// table. It is pure: events in, graph out.
package discover
