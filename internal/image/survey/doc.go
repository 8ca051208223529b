// Package survey tells what a source of images holds, and what an import would
// make of it, before anything is copied: the format, the disks of an archive,
// and everything for which it would be refused.
//
// It reads the source through package format and touches nothing else.
package survey
