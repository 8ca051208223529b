// Package bootcheck starts an image as a machine would, and tells whether it comes
// up: a guest on a throw-away overlay, on a network of its own that leads nowhere,
// whose serial console is read until it shows a sign.
//
//	link and overlay ─▶ started ─▶ watched ─▶ ended, everything removed
//
// Which words are signs is data (signs.yaml). A guest that shows none is unknown,
// not well. The image is only read. Below its own directory the package keeps one
// directory for each check, which goes with it. A guest ends with the server; what else a
// kill has left, Sweep, the next check of that name or Discard removes.
package bootcheck
