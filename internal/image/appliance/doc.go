// Package appliance carries out what a plan of package repair says, on an overlay of
// an image: the image itself is opened for reading only.
//
// A guest's file systems are foreign bytes, so this host's kernel never mounts them.
// A throw-away guest does: a kernel, and this very program as its first process. It
// has no network and no disk but the overlay, and ends when its work is done, or is
// ended when it takes too long.
//
// It writes the overlay, and a directory of its own that is gone when it returns.
package appliance
