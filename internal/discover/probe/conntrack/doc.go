// Package conntrack tells how a machine translates addresses for others, from the
// kernel's own table of connections (ctnetlink). It reads the tables of the
// network namespaces that it is told of, and changes nothing.
package conntrack
