// Package luks opens volumes encrypted with LUKS, version 1 and 2, with a key that
// it is given, and gives what is inside, to be read only.
//
// It reads from the io.ReaderAt it is given, and key files; it touches nothing else
// and keeps no key but that of an open volume in its Mapping. What a header asks of
// time and memory is bounded. The layouts are those of "LUKS On-Disk Format
// Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1.
package luks
