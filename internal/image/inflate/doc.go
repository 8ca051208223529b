// Package inflate unpacks DEFLATE, zlib and gzip (RFC 1950 to 1952) more than twice as fast as
// the libraries do, which is most of what looking into an initramfs costs.
//
// It reads from the bufio.Reader it is given, not a byte beyond the end of a stream,
// and touches nothing else. It needs the same memory whatever the stream says.
package inflate
