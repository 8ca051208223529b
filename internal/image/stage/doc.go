// Package stage keeps what has arrived of a source of images, so that a transfer
// goes on where it was after a cut connection, or a kill of either side.
//
// A Dir may touch its own directory and nothing else. For each file there is a
// record beside it, mode 0600, which says up to where the file is on the disk for
// certain, and the state of its checksum there: what lies beyond is cut off and
// fetched again, and what is there need not be read again.
package stage
