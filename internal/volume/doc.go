// Package volume keeps the disks of one host: it makes them, blank or from the
// bytes of an image, tells what they are, reads them while a guest uses them,
// and proves that two hosts hold the same disk without moving its bytes.
//
// A Pool may touch its own directory and nothing else. Whoever made a file is
// not trusted: headers are read here before any tool sees the file, and the
// tools (qemu-img, qemu-nbd) run as children with bounds that die with us.
package volume
