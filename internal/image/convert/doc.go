// Package convert writes a disk, whatever format it comes in, as a qcow2 file: the
// form in which the library keeps what is neither raw nor qcow2.
//
// It writes to the file it is given and touches nothing else. The disk is read by
// package format, so no other program ever sees a foreign image.
package convert
