// Package daemon wires a role together and runs it: the server, the agent of a
// host, and a probe.
//
// It is the only package that knows all the others, and it decides nothing: it
// opens a data directory, makes the parts in their order, runs them until one
// fails or the role is told to stop, and takes them down in the reverse order.
// Nothing of a role's state is outside its data directory.
package daemon
