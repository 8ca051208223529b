// Package discover finds out who talks to whom, through address translation.
//
// Probes on the hosts report connections and processes; this package joins what
// both ends of a connection saw. The kinds of evidence, best first: the pair of
// TCP initial sequence numbers; a pattern of connections that a probe emitted and
// the other end saw; the translating box's own table; the timing of natural
// traffic. It is pure: events in, findings out.
//
//	probes ──Decode──▶ Joiner ──Finding──▶ graph.Graph
//	   ▲                 │  ▲
//	   │            Flows│  │Expect
//	   │         Outcomes▼  │
//	   └──Assignment── allot.Allotter
//
// Sequence numbers fail where a box in between chooses its own: at proxies, and
// at some firewalls. Patterns are for those, and for what has no other evidence.
package discover
