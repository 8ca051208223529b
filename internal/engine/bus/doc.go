// Package bus connects the server with its hosts: a NATS server with JetStream,
// embedded or external, the identities of those who may use it, request and
// reply between server and hosts, and the stream of events.
//
// It may touch its own directory (seeds of the identities, the certificate, the
// streams) and the network. What the streams hold besides events is not its
// concern; see packages store, lease and job.
//
// Subjects:
//
//	cmd.<host>.<verb>          a command for a host; answered by that host alone
//	probe.<host>.report        what the probe of a host saw; answered by the server
//	probe.<host>.order         what it is to do; answered by that probe alone
//	event.<source>.<type>      an event; kept in the stream EVENTS
//	$KV.<bucket>.<key>         a key of package store
//	_INBOX_<host>.>            answers to a host
//	_INBOX_probe_<host>.>      answers to the probe of a host
//
// An identity is a NATS user JWT whose subject permissions let a host answer its
// own commands, write its own keys and tell its own events, and nothing else. So
// one host can neither read nor write what belongs to another, whatever runs on
// it.
package bus
