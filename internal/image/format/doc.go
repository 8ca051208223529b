// Package format reads disk images of every common format at random, without
// converting them: raw, qcow2 (with zlib and zstd clusters), VMDK (sparse,
// streamOptimized, flat), VHD, VHDX, and the disks inside an OVA.
//
// It opens the file it is given for reading. The only other files it ever opens
// are the extents of a VMDK, by their plain names and in the folder of the
// descriptor; an image that asks for a backing file or an external data file is
// refused. Memory is bounded whatever the image says.
package format
