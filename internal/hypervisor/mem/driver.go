// Package mem runs guests that exist in memory only: a hypervisor for tests and
// for trying Droveway out on a machine without one.
//
// It keeps the whole contract of package hypervisor. A guest's memory is a
// counter, its disks are the real files, and guests move over TCP between the
// drivers of one process or of several. The guests live as long as the Driver:
// another one knows nothing of them. Raw disks can be written by guests; a disk
// in another format is an opaque file that moves with its bytes.
//
// Tests break it on purpose with Fail and with the Kill of what it started.
package mem

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sync"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

var (
	_ hypervisor.Driver   = (*Driver)(nil)
	_ hypervisor.Restorer = (*Driver)(nil)
	_ hypervisor.Mover    = (*Instance)(nil)
	_ hypervisor.Resizer  = (*Instance)(nil)
)

// Driver is the hypervisor; New makes one.
type Driver struct {
	mu          sync.Mutex
	last        int
	guests      map[string]*Instance
	secondaries map[string]*Secondary
	faults      map[string]error
}

// New makes a hypervisor without guests.
func New() *Driver {
	return &Driver{guests: map[string]*Instance{}, secondaries: map[string]*Secondary{}, faults: map[string]error{}}
}

// Name is "mem".
func (d *Driver) Name() string { return "mem" }

// Probe finds little to report.
func (d *Driver) Probe(context.Context) (hypervisor.Capabilities, error) {
	if err := d.fault("Probe"); err != nil {
		return nil, err
	}
	return hypervisor.Capabilities{
		"mem": "yes", "accelerator": "none", "kvm": "no: guests in memory", "migrate": "yes",
		hypervisor.ReadLocalCapability: "yes", hypervisor.FilledCapability: "yes", droveway.UEFICapability: "yes", hypervisor.AloneCapability: "yes",
	}, nil
}

// Fail makes every call of a verb, as "Send", fail with err until it is called
// with nil.
func (d *Driver) Fail(verb string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[verb] = err
}

func (d *Driver) fault(verb string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.faults[verb]
}

// handle finds a guest or a secondary in its driver.
type handle struct {
	ID string `json:"mem"`
}

func (d *Driver) id(kind, machine string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	return fmt.Sprintf("%s-%s-%d", kind, machine, d.last)
}

func encode(id string) hypervisor.Handle {
	b, _ := json.Marshal(handle{id}) // a string always marshals
	return b
}

func decode(h hypervisor.Handle) (string, error) {
	var v handle
	if err := json.Unmarshal(h, &v); err != nil || v.ID == "" {
		return "", droveway.Errorf(droveway.Invalid, "handle %q is none of the mem driver", h)
	}
	return v.ID, nil
}

// Start makes a guest.
func (d *Driver) Start(_ context.Context, spec hypervisor.Spec) (hypervisor.Instance, error) {
	if err := d.fault("Start"); err != nil {
		return nil, err
	}
	if i, err := d.again(spec); i != nil || err != nil {
		return i, err
	}
	if err := variables(spec); err != nil {
		return nil, err
	}
	i, err := newInstance(d, d.id("guest", spec.Machine), spec)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.guests[i.id] = i
	return i, nil
}

// variables makes the file for a firmware's variables, which no guest here writes.
func variables(spec hypervisor.Spec) error {
	if spec.Vars == "" {
		return nil
	}
	f, err := os.OpenFile(spec.Vars, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "firmware variables: %w", err)
	}
	return f.Close()
}

// again finds the guest that an earlier Start has made in the same directory.
func (d *Driver) again(spec hypervisor.Spec) (hypervisor.Instance, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.guests {
		switch {
		case i.spec.Dir != spec.Dir || i.now() == hypervisor.Gone:
		case reflect.DeepEqual(i.spec, spec):
			return i, nil
		default:
			return nil, droveway.Errorf(droveway.Conflict, "another instance runs in %s: stop it first", spec.Dir)
		}
	}
	return nil, nil
}

// Attach finds a guest.
func (d *Driver) Attach(_ context.Context, h hypervisor.Handle) (hypervisor.Instance, error) {
	if err := d.fault("Attach"); err != nil {
		return nil, err
	}
	id, err := decode(h)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	i := d.guests[id]
	d.mu.Unlock()
	if i == nil || i.now() == hypervisor.Gone {
		return nil, droveway.Errorf(droveway.NotFound, "guest %s runs no more", id)
	}
	return i, nil
}

// Sweep ends the guests and secondaries of a directory.
func (d *Driver) Sweep(_ context.Context, dir string) error {
	for _, k := range d.those(func(_, its string) bool { return its == dir }) {
		k.Kill()
	}
	return nil
}

// Guest gives the guest of a machine, nil if there is none.
func (d *Driver) Guest(machine string) *Instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.guests {
		if i.spec.Machine == machine && i.now() != hypervisor.Gone {
			return i
		}
	}
	return nil
}

// Kill ends, all at once, what the driver runs of a machine: guests and
// secondaries.
func (d *Driver) Kill(machine string) {
	for _, k := range d.those(func(its, _ string) bool { return its == machine }) {
		k.Kill()
	}
}

// killer is a guest or a secondary.
type killer interface{ Kill() }

// those picks guests and secondaries by their machines and directories.
func (d *Driver) those(pick func(machine, dir string) bool) []killer {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []killer
	for _, i := range d.guests {
		if pick(i.spec.Machine, i.spec.Dir) {
			all = append(all, i)
		}
	}
	for _, s := range d.secondaries {
		if pick(s.spec.Machine, s.spec.Dir) {
			all = append(all, s)
		}
	}
	return all
}
