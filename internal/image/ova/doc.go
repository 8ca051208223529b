// Package ova reads the layout of an OVA: a tar archive with a description in
// OVF, a manifest of checksums, and disks, which stay where they lie in the
// archive. It makes such an archive, too, of the files of a disk that has
// several.
//
// It reads from the io.ReaderAt it is given and touches nothing else. Nothing is
// ever unpacked to a path, so a name in an archive leads nowhere.
package ova
