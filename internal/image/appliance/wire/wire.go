// Package wire is what passes between a host and the appliance on it: the order,
// which is a file in the appliance's first file system, and the events that come
// back, one line of JSON each. Whoever reads events must not trust them: the
// programs of a guest run beside the one that writes them.
package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/repair"
)

// Places in the appliance.
const (
	Program   = "/droveway-appliance" // the first process, by which it knows itself
	OrderFile = "/order.json"
	Modules   = "/modules" // a directory
	Port      = "/dev/ttyS1"

	// A directory of its own has what mounts NTFS: the program, what loads it unless
	// it needs no libraries, and those.
	NTFS        = "/ntfs-3g"
	NTFSProgram = "program"
	NTFSLoader  = "loader"
)

// Order is what the appliance has to do.
type Order struct {
	Modules []string `json:"modules"` // files in Modules, in the order in which they load
	Disk    Disk     `json:"disk"`
	Steps   []Step   `json:"steps"`
}

// Disk says how the guest's disk becomes its file systems.
type Disk struct {
	Arrays []Array `json:"arrays,omitempty"` // are made before the maps
	Maps   []Map   `json:"maps,omitempty"`
	Mounts []Mount `json:"mounts"` // the root first
	// Links are symbolic links below /dev/disk, to what they lead to: programs of
	// guests ask for file systems by them.
	Links map[string]string `json:"links,omitempty"`
}

// Array is one of MD.
type Array struct {
	UUID    string   `json:"uuid"`
	Device  string   `json:"device"`  // below /dev: mdN
	Path    string   `json:"path"`    // below /dev, where mdadm has it by its name
	Version string   `json:"version"` // of the superblocks
	Level   int      `json:"level"`
	Members []string `json:"members"` // devices
}

// Map is a logical or an unlocked volume, for the kernel's device mapper.
type Map struct {
	Name  string   `json:"name"` // as below /dev/mapper
	UUID  string   `json:"uuid"`
	Path  string   `json:"path,omitempty"` // below /dev, where LVM has it
	Table []Target `json:"table"`
}

// Target is a piece of a Map. Start and Size are sectors of 512 bytes. The parameters of
// one that decrypts have its key.
type Target struct {
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	Kind   string `json:"kind"`
	Params string `json:"params"`
}

// Mount is a file system.
type Mount struct {
	Device  string `json:"device"`
	Path    string `json:"path"` // in the guest
	Kind    string `json:"kind"`
	Options string `json:"options,omitempty"`
}

// Step is a step of a plan that was chosen to be carried out.
type Step struct {
	Name  string        `json:"name"`
	Files []repair.File `json:"files,omitempty"`
	Keep  []string      `json:"keep,omitempty"` // files that Run makes anew
	Run   [][]string    `json:"run,omitempty"`
	Hives []Hive        `json:"hives,omitempty"` // are changed once the files are there
}

// Hive says what is set in a hive of a Windows.
type Hive struct {
	Path string  `json:"path"`
	Set  []Value `json:"set"`
}

// Value is a value of a registry. In its key, ${control} is the current control set.
type Value struct {
	Key  string `json:"key"`
	Name string `json:"name"`
	Type uint32 `json:"type"`
	Data []byte `json:"data"`
}

// Event is one line from the appliance. One of its fields is set.
type Event struct {
	Step   string   `json:"step,omitempty"` // begins
	Said   string   `json:"said,omitempty"` // by a program
	Change *Change  `json:"change,omitempty"`
	Failed *Failure `json:"failed,omitempty"`
	Done   bool     `json:"done,omitempty"`
}

// Change is a file that was made or changed.
type Change struct {
	Step   string `json:"step"`             // of the plan
	Path   string `json:"path"`             // in the guest
	Before string `json:"before,omitempty"` // SHA-256; empty: there was no such file
	After  string `json:"after,omitempty"`  // SHA-256, or where a symbolic link leads
	Backup string `json:"backup,omitempty"` // where the original is kept, in the guest
}

// Failure is why the appliance gave up.
type Failure struct {
	Step string        `json:"step"`
	Kind droveway.Kind `json:"kind"`
	What string        `json:"what"`
}

// Limits of what an appliance may say.
const (
	maxLine  = 64 << 10 // bytes of one event
	maxSaid  = 32 << 20 // bytes in all
	MaxWords = 8 << 10  // bytes of a text, which JSON may make six times as long
)

// Send writes an event. Texts are cut so that the line is not refused.
func Send(w io.Writer, e Event) error {
	e.Said = Last(e.Said)
	if e.Failed != nil {
		f := *e.Failed
		f.What = Last(f.What)
		e.Failed = &f
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Last is the end of a text, as much as an event may have.
func Last(text string) string { return text[max(0, len(text)-MaxWords):] }

// Receive hands on events until there are no more. Lines that are no events are
// passed over: anything in the appliance can write to its port. Too much is an
// error.
func Receive(r io.Reader, take func(Event)) error {
	s := bufio.NewScanner(io.LimitReader(r, maxSaid))
	s.Buffer(nil, maxLine)
	total := 0
	for s.Scan() {
		total += len(s.Bytes()) + 1
		var e Event
		if line := bytes.TrimSpace(s.Bytes()); len(line) > 0 && json.Unmarshal(line, &e) == nil {
			take(e)
		}
	}
	switch {
	case errors.Is(s.Err(), bufio.ErrTooLong) || total >= maxSaid:
		return droveway.Errorf(droveway.Invalid, "the appliance talks without end: the image is damaged or hostile")
	case s.Err() != nil:
		return droveway.Errorf(droveway.Unavailable, "listen to the appliance: %w", s.Err())
	}
	return nil
}
