// Package intake brings images in: what a client uploads piece by piece, and what
// the server fetches itself, become images of the library by the job image-import.
//
//	claim ─▶ fetch ─▶ examine ─▶ convert ─▶ inspect ─▶ plan ─▶ repair ─▶ verify ─▶ publish
//
// Claim takes the name, fetch brings the source to the disk and goes on after every
// cut and kill where it was, examine checks its checksums and looks at what it is,
// convert makes the images, inspect and plan find out what they hold and what is to be
// done, repair changes what keeps them from running here, verify boots them, publish
// (the point of no return) shows them. A failure before that leaves nothing but the
// job's result.
//
// It touches the library, its own images in the table of images, what the Repairer and
// the Checker touch, and the address that an administrator names; what comes from there
// is not trusted.
package intake
