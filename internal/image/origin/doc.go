// Package origin lets a machine run from an image that is not here yet.
//
// An origin is a source of an image that hosts may read as a disk, over NBD and
// TLS, before it was imported. What they ask for is fetched by parts, in whatever
// format the source is, and read by our own readers; what was fetched is kept on
// the server's disk, so that nothing is fetched twice, however often anybody is
// killed. An origin is read only and never changes: each part is held against the
// version that was there at first, and of another version nothing is given out.
//
//	QEMU ─NBD─▶ view ─▶ format reader ─▶ store ─▶ the server's disk
//	                                        └────▶ source (ranges, read ahead)
//
// It touches its own directory, the address that an administrator names, and the
// port that it is told to listen on. What comes from a source is not trusted.
package origin
