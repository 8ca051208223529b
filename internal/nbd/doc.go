// Package nbd speaks the network block device protocol, as in
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md: a small
// client, enough to read a disk that qemu-nbd exports on a Unix socket, and a
// server of disks that can only be read.
//
// Both speak the fixed newstyle handshake. The client uses NBD_OPT_GO and simple
// replies; the server also knows NBD_OPT_STARTTLS, without which it gives nothing
// away if it has a certificate, and structured replies, by which empty parts of a
// disk do not travel.
//
// It touches nothing but the connections it is given. Whatever the other side
// says, memory is bounded: for the client by the caller's own buffer and a few
// kilobytes, for the server by its Budget.
package nbd
