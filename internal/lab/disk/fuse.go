package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The operations of the FUSE protocol (fuse.h of Linux) that a file system of
// one file is asked for.
const (
	opForget  = 2
	opGetattr = 3
	opSetattr = 4
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opStatfs  = 17
	opRelease = 18
	opFsync   = 20
	opFlush   = 25
	opInit    = 26
	opIntr    = 36
	opForgets = 42
)

const (
	protocolMajor, protocolMinor = 7, 31

	directIO   = 1                // of an open file: the kernel keeps nothing of it
	features   = 1<<0 | 1<<22     // reads at the same time; requests of maxWrite
	maxWrite   = 1 << 20          // bytes
	maxPages   = maxWrite / 4096  // in a request
	maxRequest = maxWrite + 4<<10 // bytes, with the headers
	workers    = 4
)

type requestHeader struct {
	Len, Opcode   uint32
	Unique, Node  uint64
	UID, GID, PID uint32
	Extra, _      uint16
}

type answerHeader struct {
	Len    uint32
	Error  int32
	Unique uint64
}

type initAnswer struct {
	Major, Minor, ReadAhead, Flags uint32
	Background, Congestion         uint16
	MaxWrite, TimeGran             uint32
	MaxPages                       uint16
	_                              [34]byte
}

type attrAnswer struct {
	Valid                               uint64
	_                                   uint64
	Ino, Size, Blocks                   uint64
	_                                   [3]uint64
	_                                   [3]uint32
	Mode, Links, UID, GID, _, BlockSize uint32
	_                                   uint32
}

type openAnswer struct {
	Handle uint64
	Flags  uint32
	_      uint32
}

// ioRequest is a read, or the head of a write.
type ioRequest struct {
	_, Offset uint64
	Size, _   uint32
	_         uint64
	_         uint64
}

type writeAnswer struct{ Size, _ uint32 }

type statfsAnswer struct {
	_               [5]uint64
	BlockSize, Name uint32
	FragmentSize, _ uint32
	_               [6]uint32
}

// server answers the kernel's requests for one file.
type server struct {
	kernel int // /dev/fuse
	image  *os.File
	size   int64
	spoilt func(offset int64, n int) bool
}

// serve returns when the file system is unmounted.
func (s *server) serve() error {
	var wait sync.WaitGroup
	errs := make([]error, workers)
	for i := range errs {
		wait.Go(func() { errs[i] = s.work() })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (s *server) work() error {
	buf := make([]byte, maxRequest)
	for {
		n, err := syscall.Read(s.kernel, buf)
		switch {
		case errors.Is(err, unix.ENODEV):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return os.NewSyscallError("read /dev/fuse", err)
		}
		var h requestHeader
		body := bytes.NewReader(buf[:n])
		if err := binary.Read(body, binary.LittleEndian, &h); err != nil {
			return err
		}
		if h.Opcode == opForget || h.Opcode == opForgets || h.Opcode == opIntr {
			continue // these want no answer
		}
		out, err := s.answer(h.Opcode, body)
		if err := s.reply(h.Unique, out, err); err != nil {
			return err
		}
	}
}

func (s *server) reply(unique uint64, out []byte, failure error) error {
	h := answerHeader{Unique: unique}
	if errno := unix.Errno(0); errors.As(failure, &errno) {
		h.Error, out = -int32(errno), nil
	} else if failure != nil {
		h.Error, out = -int32(unix.EIO), nil
	}
	h.Len = uint32(binary.Size(h) + len(out))
	_, err := syscall.Write(s.kernel, append(encode(h), out...))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil // nobody waits for it any more
	}
	return os.NewSyscallError("write /dev/fuse", err)
}

func encode(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err) // a type of this file without a fixed size
	}
	return b
}

func (s *server) answer(op uint32, body *bytes.Reader) ([]byte, error) {
	switch op {
	case opInit:
		return encode(initAnswer{
			Major: protocolMajor, Minor: protocolMinor, Flags: features, Background: 64, Congestion: 48,
			MaxWrite: maxWrite, TimeGran: 1, MaxPages: maxPages,
		}), nil
	case opGetattr, opSetattr:
		return encode(attrAnswer{
			Ino: 1, Size: uint64(s.size), Blocks: uint64(s.size / 512), Mode: unix.S_IFREG | 0o600, Links: 1, BlockSize: 4096,
		}), nil
	case opOpen:
		return encode(openAnswer{Flags: directIO}), nil
	case opRead:
		return s.read(body)
	case opWrite:
		return s.write(body)
	case opFsync:
		return nil, s.image.Sync()
	case opFlush, opRelease:
		return nil, nil
	case opStatfs:
		return encode(statfsAnswer{BlockSize: 4096, FragmentSize: 4096, Name: 255}), nil
	}
	return nil, unix.ENOSYS
}

func (s *server) read(body *bytes.Reader) ([]byte, error) {
	var r ioRequest
	if err := binary.Read(body, binary.LittleEndian, &r); err != nil {
		return nil, err
	}
	if s.spoilt(int64(r.Offset), int(r.Size)) {
		return nil, unix.EIO
	}
	b := make([]byte, r.Size)
	n, err := s.image.ReadAt(b, int64(r.Offset))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

func (s *server) write(body *bytes.Reader) ([]byte, error) {
	var w ioRequest
	if err := binary.Read(body, binary.LittleEndian, &w); err != nil {
		return nil, err
	}
	b := make([]byte, w.Size)
	if _, err := io.ReadFull(body, b); err != nil {
		return nil, err
	}
	n, err := s.image.WriteAt(b, int64(w.Offset))
	return encode(writeAnswer{Size: uint32(n)}), err
}
