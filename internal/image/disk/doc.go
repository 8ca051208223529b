// Package disk finds the volumes of a disk: MBR and GPT partitions, LVM2 logical
// volumes, and the arrays of MD whose contents can be put together from the members
// that are there.
//
// It reads from the io.ReaderAt it is given and touches nothing else.
package disk
