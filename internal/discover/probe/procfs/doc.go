// Package procfs reads what /proc tells of processes and of their sockets, and
// which package of the system an executable belongs to. It only reads.
package procfs
