// Package inspect looks into a disk image: how it is divided, which system it
// holds, what would have to change for it to run here, and what will not work.
//
// It reads the image file (for a split VMDK also the extents beside it) and
// touches nothing else: no mount, no root, no child process, and no code of the
// guest. Bytes read and time are bounded, whatever the image says.
package inspect
