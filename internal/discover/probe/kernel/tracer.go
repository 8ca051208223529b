package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/pidns"
)

const (
	ringSize       = 1 << 20 // bytes
	maxConnecting  = 16384
	maxKnown       = 16384 // processes
	look           = 100 * time.Millisecond
	tracepoint     = "inet_sock_set_state"
	processBytes   = 8
	counterEntries = 1
)

// Attachment is how the program is attached.
type Attachment string

// The attachments, better first: at a typed tracepoint the kernel itself checks
// what the program reads; at a raw one every read is a copy that may fail.
const (
	Typed Attachment = "tp_btf"
	Raw   Attachment = "raw_tp"
)

// maps are what the program and the probe share.
type maps struct {
	events     *ebpf.Map
	connecting *ebpf.Map // socket → process
	known      *ebpf.Map // thread group → any
	lost       *ebpf.Map // one counter
}

// Tracer is a capture.Source: the kernel tells of every connection of every
// network namespace.
type Tracer struct {
	maps   maps
	reader *ringbuf.Reader
	closer []io.Closer
}

// Open loads the program and attaches it. Processes are told by their numbers in
// a PID namespace; those that have none there are 0. The error says what the
// kernel or the privileges lack.
func Open(how Attachment, numbers pidns.Namespace) (*Tracer, error) {
	l, err := readLayout()
	if err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, refused(how, err)
	}
	t := &Tracer{}
	if err := t.makeMaps(); err != nil {
		return nil, errors.Join(refused(how, err), t.Close())
	}
	if err := t.attach(how, l, numbers); err != nil {
		return nil, errors.Join(refused(how, err), t.Close())
	}
	t.reader, err = ringbuf.NewReader(t.maps.events)
	if err != nil {
		return nil, errors.Join(refused(how, err), t.Close())
	}
	return t, nil
}

func refused(how Attachment, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return droveway.Errorf(droveway.Permission, "load the %s program: run the probe as root or give it CAP_BPF and CAP_PERFMON: %w", how, err)
	}
	return droveway.Errorf(droveway.Unsupported, "load the %s program: %w", how, err)
}

func (t *Tracer) makeMaps() error {
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&t.maps.events, ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: ringSize}},
		{&t.maps.connecting, ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 8, ValueSize: processBytes, MaxEntries: maxConnecting}},
		{&t.maps.known, ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 8, ValueSize: processBytes, MaxEntries: maxKnown}},
		{&t.maps.lost, ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: counterEntries}},
	} {
		made, err := ebpf.NewMap(&m.spec)
		if err != nil {
			return fmt.Errorf("make a map of kind %s: %w", m.spec.Type, err)
		}
		*m.to = made
		t.closer = append(t.closer, made)
	}
	return nil
}

func (t *Tracer) attach(how Attachment, l layout, numbers pidns.Namespace) error {
	spec := &ebpf.ProgramSpec{Name: "droveway_state", License: "GPL", Instructions: changes(l, how == Raw, t.maps, numbers)}
	if how == Raw {
		spec.Type = ebpf.RawTracepoint
	} else {
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceRawTp, tracepoint
	}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		return err
	}
	defer p.Close() // the attachment holds it
	at, err := attachTo(how, p)
	if err != nil {
		return err
	}
	t.closer = append(t.closer, at)
	return nil
}

func attachTo(how Attachment, p *ebpf.Program) (link.Link, error) {
	if how == Raw {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// Run implements capture.Source.
func (t *Tracer) Run(ctx context.Context, deliver func(capture.Event)) error {
	var r ringbuf.Record
	for ctx.Err() == nil {
		t.reader.SetDeadline(time.Now().Add(look))
		offset := bootOffset() // anew each time: the clock may be set
		for {
			err := t.reader.ReadInto(&r)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("read the events of the kernel: %w", err)
			}
			e, ok, err := decode(r.RawSample, offset)
			if err != nil {
				return err
			}
			if ok {
				deliver(e)
			}
		}
	}
	return nil
}

// Forget lets the kernel tell of a process again: the number is free for
// another one.
func (t *Tracer) Forget(pid int) {
	_ = t.maps.known.Delete(uint64(pid)) // not there: nothing to forget
}

// Lost implements capture.Source.
func (t *Tracer) Lost() uint64 {
	var n uint64
	if t.maps.lost.Lookup(uint32(0), &n) != nil {
		return 0
	}
	return n
}

// Close implements capture.Source: it detaches the program.
func (t *Tracer) Close() error {
	var errs []error
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	for i := len(t.closer) - 1; i >= 0; i-- {
		errs = append(errs, t.closer[i].Close())
	}
	return errors.Join(errs...)
}
