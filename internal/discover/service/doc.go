// Package service is the server's side of discovery: it takes the reports of the
// probes, keeps the graph of who talks to whom, and has probes emit patterns
// where the policy allows it.
//
//	probes ──bus──▶ Joiner ──▶ graph ──▶ bucket relations
//	   ▲                                      │ at start
//	   └──orders── Allotter ◀── policy, results
//
// It may touch the bus, the bucket of relations and its own objects. Who found
// what is decided in package discover, which is pure; here is the I/O around it.
// What waits for its other end is in memory only: after a restart the probes tell
// within discover.Repeat what is open, and a connection that was seen at one end
// only and was short is lost.
package service
