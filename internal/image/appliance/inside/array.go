package inside

import (
	"fmt"
	"os"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// Requests to an array of MD, as _IOW(9, n, …) of include/uapi/linux/raid/md_u.h.
const (
	addDisk  = 0x40140921
	setArray = 0x40480923
	runArray = 0x400c0930
)

// Numbers of 32 bits in the structs of these requests, and where some are.
const (
	arrayWords, atVersion, atMinor      = 18, 0, 1
	diskWords, atNodeMajor, atNodeMinor = 5, 1, 2
	runWords                            = 3
)

// newArray makes the device of an array that is written to it.
const newArray = "/sys/module/md_mod/parameters/new_array"

// assemble makes an array of members that have the superblocks of it, by the kernel,
// which reads in these all the rest.
func assemble(a wire.Array) error {
	if err := os.WriteFile(newArray, []byte(path.Base(a.Device)), 0); err != nil {
		return droveway.Errorf(droveway.Internal, "make array %s: %w", a.Path, err)
	}
	if err := awaitDevice(a.Device); err != nil {
		return err
	}
	f, err := os.OpenFile(a.Device, os.O_RDWR, 0)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "open array %s: %w", a.Path, err)
	}
	defer f.Close()
	var about [arrayWords]int32
	if _, err := fmt.Sscanf(a.Version, "%d.%d", &about[atVersion], &about[atMinor]); err != nil {
		return droveway.Errorf(droveway.Internal, "array %s has superblocks of version %q", a.Path, a.Version)
	}
	if err := request(f, setArray, about[:]); err != nil {
		return droveway.Errorf(droveway.Unsupported, "array %s of version %s: %w", a.Path, a.Version, err)
	}
	for _, m := range a.Members {
		if err := addMember(f, m); err != nil {
			return droveway.Errorf(droveway.Invalid, "array %s: add %s: %w: its superblock may be damaged", a.Path, m, err)
		}
	}
	if err := request(f, runArray, make([]int32, runWords)); err != nil {
		return droveway.Errorf(droveway.Invalid, "array %s: the kernel does not start it: %w", a.Path, err)
	}
	// What is to be copied between members is left to the guest: it would fill the
	// overlay. Levels without copies have no such file.
	_ = os.WriteFile("/sys/block/"+path.Base(a.Device)+"/md/sync_action", []byte("frozen"), 0)
	return nil
}

func addMember(array *os.File, device string) error {
	if err := awaitDevice(device); err != nil {
		return err
	}
	var s unix.Stat_t
	if err := unix.Stat(device, &s); err != nil {
		return err
	}
	var about [diskWords]int32
	about[atNodeMajor], about[atNodeMinor] = int32(unix.Major(s.Rdev)), int32(unix.Minor(s.Rdev))
	return request(array, addDisk, about[:])
}

func request(f *os.File, request uint, words []int32) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(unsafe.SliceData(words))))
	if errno != 0 {
		return errno
	}
	return nil
}
