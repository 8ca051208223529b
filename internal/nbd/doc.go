// Package nbd is a small client of the network block device protocol: enough to
// read a disk that qemu-nbd exports on a Unix socket.
//
// It speaks the fixed newstyle handshake with NBD_OPT_GO and simple replies, as
// in https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md. It
// touches nothing but the connection it is given. Whatever the server says,
// nothing larger than the caller's own buffer and a few kilobytes is allocated.
package nbd
