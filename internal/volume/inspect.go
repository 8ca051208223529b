package volume

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
)

// Info is what a disk's file is.
type Info struct {
	Format droveway.Format
	Size   int64 // bytes that a guest sees
	Bytes  int64 // bytes of the file
}

// inspecting bounds qemu-img while it looks at a file of unknown origin: an
// honest one needs some megabytes and milliseconds.
var inspecting = limits{memory: 1 << 30, cpu: time.Minute, time: 5 * time.Minute}

// Inspect finds out what a file is, without trusting it. It refuses, as Invalid,
// what is no disk, what is truncated or damaged, what leans on other files, and
// sizes that no disk has. A raw disk is taken for one if it shows a partition
// table or a file system.
func Inspect(ctx context.Context, path string) (Info, error) {
	return inspect(ctx, path, "")
}

// InspectAs is Inspect for a caller that knows the format: a raw disk may then
// hold anything, and another format is refused.
func InspectAs(ctx context.Context, path string, format droveway.Format) (Info, error) {
	if err := format.Validate(); err != nil {
		return Info{}, err
	}
	return inspect(ctx, path, format)
}

func inspect(ctx context.Context, path string, format droveway.Format) (Info, error) {
	start, bytes, err := readStart(path)
	if err != nil {
		return Info{}, err
	}
	format, err = recognise(start, format)
	if err != nil {
		return Info{}, err
	}
	if format == droveway.Raw {
		return Info{droveway.Raw, bytes, bytes}, checkSize(uint64(bytes))
	}
	return inspectQCOW2(ctx, path, start, bytes)
}

// readStart reads what is needed to recognise a file, and its length.
func readStart(path string) ([]byte, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fileError("look at", path, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, fileError("look at", path, err)
	}
	if !st.Mode().IsRegular() {
		return nil, 0, droveway.Errorf(droveway.Invalid, "%s is no regular file", path)
	}
	b := make([]byte, probeLen)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, 0, fileError("read", path, err)
	}
	return b[:n], st.Size(), nil
}

// ProbeLen is how much of the start of a file Recognise has to see, in bytes.
const ProbeLen = probeLen

// Recognise tells the format that the start of a file shows. It refuses what
// Inspect refuses at first sight.
func Recognise(start []byte) (droveway.Format, error) { return recognise(start, "") }

// recognise tells the format of a file by its start; want is the format it has
// to be, or empty.
func recognise(start []byte, want droveway.Format) (droveway.Format, error) {
	if want == droveway.Raw {
		return want, nil // whatever its first sector says: a guest may have written it
	}
	if len(start) == 0 {
		return "", droveway.Errorf(droveway.Invalid, "the file is empty: give a disk image in format raw or qcow2")
	}
	if _, ok := find([]signature{{"qcow2", 0, qcow2Magic}}, start); ok {
		return droveway.QCOW2, nil
	}
	if name, ok := find(packed, start); ok {
		return "", droveway.Errorf(droveway.Invalid, "the file is packed with %s: unpack it first", name)
	}
	if name, ok := find(foreign, start); ok {
		return "", droveway.Errorf(droveway.Invalid, "the file is %s: bring it to raw or qcow2 first", name)
	}
	if want == droveway.QCOW2 {
		return "", droveway.Errorf(droveway.Invalid, "the file is no qcow2 image")
	}
	if _, ok := find(contents, start); !ok {
		return "", droveway.Errorf(droveway.Invalid, "the file is no disk image: it is not qcow2 and shows neither a partition table nor a file system")
	}
	return droveway.Raw, nil
}

func inspectQCOW2(ctx context.Context, path string, start []byte, bytes int64) (Info, error) {
	h, err := parseQCOW2(start)
	if err != nil {
		return Info{}, err
	}
	if err := h.check(); err != nil {
		return Info{}, err
	}
	path, err = filepath.Abs(path) // so that qemu-img reads no protocol into the name
	if err != nil {
		return Info{}, fileError("look at", path, err)
	}
	r, err := run(ctx, inspecting, "qemu-img", "info", "--output=json", "-f", "qcow2", path)
	if err != nil {
		return Info{}, err
	}
	if r.status != 0 {
		return Info{}, droveway.Errorf(droveway.Invalid, "the qcow2 image cannot be opened: %s", r.said)
	}
	info, err := parseInfo(r.out)
	if err != nil {
		return Info{}, err
	}
	info.Bytes = bytes
	return info, checkQCOW2(ctx, path)
}

// parseInfo reads the output of qemu-img info. It checks again what the header
// said: the two readers may differ.
func parseInfo(out []byte) (Info, error) {
	var v struct {
		Format   droveway.Format `json:"format"`
		Size     uint64          `json:"virtual-size"`
		Backing  string          `json:"backing-filename"`
		Specific struct {
			Data struct {
				External string `json:"data-file"`
				Corrupt  bool   `json:"corrupt"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return Info{}, droveway.Errorf(droveway.Internal, "read the answer of qemu-img info: %w", err)
	}
	switch {
	case v.Format != droveway.QCOW2:
		return Info{}, droveway.Errorf(droveway.Invalid, "the file is %q, not qcow2", string(v.Format))
	case v.Backing != "":
		return Info{}, droveway.Errorf(droveway.Invalid, "the qcow2 image has the backing file %q: flatten it with qemu-img convert", v.Backing)
	case v.Specific.Data.External != "":
		return Info{}, droveway.Errorf(droveway.Invalid, "the qcow2 image keeps its data in %q: bring it into one file with qemu-img convert", v.Specific.Data.External)
	case v.Specific.Data.Corrupt:
		return Info{}, droveway.Errorf(droveway.Invalid, "the qcow2 image is marked corrupt: repair it with qemu-img check -r all")
	}
	if err := checkSize(v.Size); err != nil {
		return Info{}, err
	}
	return Info{Format: droveway.QCOW2, Size: int64(v.Size)}, nil
}

// Exit statuses of qemu-img check, from its manual.
const (
	checkGood   = 0
	checkLeaked = 3 // wasted room, no harm
)

// checkQCOW2 looks whether all tables and clusters of a qcow2 file are there.
func checkQCOW2(ctx context.Context, path string) error {
	r, err := run(ctx, inspecting, "qemu-img", "check", "-q", "-f", "qcow2", path)
	if err != nil {
		return err
	}
	switch r.status {
	case checkGood, checkLeaked:
		return nil
	}
	return droveway.Errorf(droveway.Invalid, "the qcow2 image is truncated or damaged (qemu-img check ends with %d): fetch it again or repair it", r.status)
}
