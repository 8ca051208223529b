// Package filesystem says what a filesystem reader of an image offers, and looks
// paths up in them.
//
// The readers are in the sub-packages, one per filesystem. All are read-only,
// bounded, and know nothing of the machine they run on: a Tree follows symbolic
// links inside the image alone, so a link to /etc/shadow is the image's own.
package filesystem
