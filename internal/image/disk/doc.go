// Package disk finds the volumes of a disk: MBR and GPT partitions, LVM2 logical
// volumes and members of an MD RAID 1.
//
// It reads from the io.ReaderAt it is given and touches nothing else.
package disk
