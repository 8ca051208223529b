// Package packet learns of TCP connections from the packets that open and close
// them, where the kernel takes no programs from us: it sees the sequence numbers,
// but not the processes.
//
// It opens packet sockets that receive copies, in the network namespaces that it
// is given. It sends nothing. Needs CAP_NET_RAW, and CAP_SYS_ADMIN for other
// namespaces than its own.
package packet
