// Package devmapper asks the kernel's device mapper for block devices that are made
// of pieces of others, as logical volumes are: include/uapi/linux/dm-ioctl.h.
package devmapper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// control is the device that takes the requests.
const control = "/dev/mapper/control"

// Requests, as _IOWR(0xfd, n, struct dm_ioctl).
const (
	createDevice = 0xc138fd03
	resumeDevice = 0xc138fd06
	loadTable    = 0xc138fd09
)

// Sizes and places in struct dm_ioctl and struct dm_target_spec.
const (
	headerBytes = 312
	targetBytes = 40
	kindBytes   = 16
	atSize      = 12
	atData      = 16
	atTargets   = 20
	atDevice    = 40
	atName      = 48
	nameBytes   = 128
	atUUID      = atName + nameBytes
	uuidBytes   = 129
)

// Create makes a device and gives its number in the kernel's dm-N.
func Create(m wire.Map) (minor uint32, err error) {
	f, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return 0, droveway.Errorf(droveway.Unsupported, "device mapper: %w", err)
	}
	defer f.Close()
	var answer []byte
	create := message(m.Name, nil, 0)
	copy(create[atUUID:atUUID+uuidBytes-1], m.UUID) // later requests give either name or UUID
	for _, r := range []struct {
		request uint
		message []byte
	}{
		{createDevice, create},
		{loadTable, message(m.Name, table(m.Table), len(m.Table))},
		{resumeDevice, message(m.Name, nil, 0)},
	} {
		if answer, err = ask(f, r.request, r.message); err != nil {
			return 0, droveway.Errorf(droveway.Internal, "map volume %s: %w", m.Name, err)
		}
	}
	return unix.Minor(binary.NativeEndian.Uint64(answer[atDevice:])), nil
}

// message is a request about one device.
func message(name string, data []byte, targets int) []byte {
	b := make([]byte, headerBytes, headerBytes+len(data))
	ne := binary.NativeEndian
	ne.PutUint32(b, 4) // version 4.0.0
	ne.PutUint32(b[atSize:], uint32(headerBytes+len(data)))
	ne.PutUint32(b[atData:], headerBytes)
	ne.PutUint32(b[atTargets:], uint32(targets))
	copy(b[atName:atName+nameBytes-1], name)
	return append(b, data...)
}

// table is targets in a row, each with its parameters as text behind it.
func table(targets []wire.Target) []byte {
	var b bytes.Buffer
	for _, t := range targets {
		spec := make([]byte, targetBytes, targetBytes+len(t.Params)+8)
		ne := binary.NativeEndian
		ne.PutUint64(spec, uint64(t.Start))
		ne.PutUint64(spec[8:], uint64(t.Size))
		copy(spec[targetBytes-kindBytes:targetBytes-1], t.Kind)
		spec = append(spec, t.Params...)
		spec = append(spec, make([]byte, 8-len(t.Params)%8)...) // a zero at least
		ne.PutUint32(spec[20:], uint32(len(spec)))
		b.Write(spec)
	}
	return b.Bytes()
}

func ask(f *os.File, request uint, b []byte) ([]byte, error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if errno != 0 {
		return nil, fmt.Errorf("device mapper refuses request %#x: %w", request, errno)
	}
	return b, nil
}
