// Package hypervisor is the contract between Droveway and whatever runs
// guests.
//
// A Driver starts instances and finds them again; what else it can do it says by
// implementing the one-purpose interfaces of this package (Mover, MemoryMover,
// Secondary, Restorer, Resizer, Carded) and by the capabilities it has probed. Nothing
// here is specific to one hypervisor. Every driver passes the suite in hypervisortest.
//
// A driver may write below the directory of the Spec and nowhere else, and holds
// no state that a Handle does not carry: after a kill of the host role the next
// one attaches to the same guests by their handles.
package hypervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

// Driver runs guests with one kind of hypervisor. Its methods may be called at
// the same time.
type Driver interface {
	// Name is the driver's name, as "qemu".
	Name() string
	// Probe finds out what this host can do by trying it, never from a table.
	// The keys are lower-case: "qemu": "7.2.22", "accelerator": "kvm", "kvm":
	// "yes", "cpu.<flag>": "yes". The result may be kept for the life of the
	// process.
	Probe(ctx context.Context) (Capabilities, error)
	// Start starts an instance. A Spec with Incoming set makes an instance that
	// waits for memory and whose disks are not opened before TakeOver. If Start
	// fails, nothing of the instance is left. Repeated with the same Spec it finds
	// the instance that runs in its Dir already, and leaves the TAPs alone; with
	// another one there the error is of kind Conflict.
	Start(ctx context.Context, spec Spec) (Instance, error)
	// Attach finds the instance of a handle, which outlived the process that
	// started it. If it runs no more the error is of kind NotFound. It does not wait
	// for one that runs and does not answer: the instance's State will say so.
	Attach(ctx context.Context, h Handle) (Instance, error)
	// Sweep ends every instance and secondary that was started in a directory,
	// for a caller that was killed before it could keep the handle. It does
	// nothing if there is none.
	Sweep(ctx context.Context, dir string) error
}

// Capabilities is what a driver has found out about its host.
type Capabilities map[string]string

// Handle finds an instance again. It is JSON so that anybody can keep it; only
// its driver reads it.
type Handle = json.RawMessage

// Spec is an instance to start.
type Spec struct {
	Machine   string            `json:"machine"`
	UUID      string            `json:"uuid"` // shown to the guest; the same for all instances of a machine
	Dir       string            `json:"dir"`  // sockets, logs; exists, belongs to the driver
	CPUs      int               `json:"cpus"`
	CPU       droveway.CPU      `json:"cpu,omitempty"` // that the guest sees
	MemoryMiB int64             `json:"memory_mib"`
	Firmware  droveway.Firmware `json:"firmware,omitempty"`
	Vars      string            `json:"vars,omitempty"` // of UEFI: path of the file with its variables, made if it is missing; empty: in Dir
	Disks     []Disk            `json:"disks"`
	NICs      []NIC             `json:"nics"`
	Seed      string            `json:"seed,omitempty"`     // path of a cloud-init NoCloud ISO, read-only; empty: none
	Incoming  bool              `json:"incoming,omitempty"` // waits for memory from another instance
	Standing  bool              `json:"standing,omitempty"` // stands before its first instruction, as if Received, until TakeOver
	TLS       *TLS              `json:"tls,omitempty"`      // for Receive, Send and Origin; nil: plain, for tests only
	Peer      string            `json:"peer,omitempty"`     // with TLS: the only one that may send its memory; empty: any of the authority
	Bound     bool              `json:"bound,omitempty"`    // ends with the process that starts it, where the driver can have that: for what nobody adopts
	Limits    Limits            `json:"limits"`
	Extra     []string          `json:"extra,omitempty"` // driver arguments, for tests
}

// Waits reports whether the guest stands until TakeOver, and the instance opens
// no disk before.
func (s *Spec) Waits() bool { return s.Incoming || s.Standing }

// MaxVars bounds the variables of a UEFI firmware, in bytes: a driver takes no firmware
// with more, and a host none from another one. The largest of OVMF have 528 KiB; and
// what travels in a message of the bus has to fit into one, even if nothing of it can be
// compressed.
const MaxVars = 640 << 10

// Limits bounds what an instance may use, where the host can enforce it.
type Limits struct {
	CPUPercent int `json:"cpu_percent,omitempty"` // of one CPU; 0: no limit
}

// Disk is one disk of an instance.
type Disk struct {
	Name   string          `json:"name"` // unique in the instance, a DNS label
	Path   string          `json:"path"` // of the local file
	Format droveway.Format `json:"format"`
	Size   int64           `json:"size"` // bytes that the guest sees
	// Filled is where the bytes come from that the file still lacks, nil if it has
	// all: an export that is read only and never changes. The guest's writes go to
	// the file alone, which itself keeps the record of what it has; only qcow2 can.
	// Once Hydration is Ready, Settle makes the file independent of it. Unsupported,
	// if the host cannot; the capability is FilledCapability.
	Filled *Origin `json:"filled,omitempty"`
}

// FilledCapability is "yes" where a Disk may be Filled.
const FilledCapability = "reads.origin"

// NIC is one network card. TAP is the open descriptor of its tap device; the
// driver hands it to the instance and does not close it.
type NIC struct {
	ID  string   `json:"id"` // unique in the instance, as "net0"
	MAC string   `json:"mac"`
	TAP *os.File `json:"-"`
	// Alone gives the card, instead of a tap device, a network on which there is
	// nobody but a DHCP server, and which leads nowhere. What passes there is kept in
	// the file Captured of the instance's Dir. Such an instance cannot move.
	Alone bool `json:"alone,omitempty"`
}

// AloneCapability is "yes" where cards can be Alone.
const AloneCapability = "network.alone"

// Captured is the name of the file, in the format of pcap, with what passed through a
// card that is Alone.
func Captured(nic string) string { return nic + ".pcap" }

// Lacks reports as Unsupported that instances cannot have that firmware here.
func Lacks(have Capabilities, f droveway.Firmware) error {
	need := f.Requires()
	if err := f.Validate(); err != nil || need == "" || have[need] == "yes" {
		return err
	}
	return droveway.Missing(need, "firmware %s: %s", f, strings.TrimPrefix(cmp.Or(have[need], "no: this hypervisor has none"), "no: "))
}

// TLS names a directory with ca-cert.pem, server-cert.pem, server-key.pem,
// client-cert.pem and client-key.pem; peers without a certificate of that
// authority are refused.
type TLS struct {
	Dir string `json:"dir"`
}

// State is the state of an instance.
//
//	            ┌────────── Cancel ──────────┐
//	            ▼                            │
//	starting ─▶ running ◀─▶ paused     sending ─▶ held ─▶ sent (its memory is stale)
//	incoming ─▶ received ─▶ running         any ─▶ gone
//	standing ──────▲
//
// stuck is running, but stopped by an I/O error of a disk: it goes on by Resume.
// crashed is running, but given up by the guest or its hypervisor: only Stop ends it.
type State string

// The states of an instance.
const (
	Running  State = "running"
	Paused   State = "paused"
	Stuck    State = "stuck"
	Crashed  State = "crashed"
	Sending  State = "sending"
	Held     State = "held"
	Sent     State = "sent"
	Incoming State = "incoming"
	Received State = "received"
	Gone     State = "gone"
)

// Instance is one incarnation of a machine.
type Instance interface {
	// Handle is what Attach takes.
	Handle() Handle
	// PID is the process that runs the guest, 0 if there is none of its own.
	PID() int
	// State asks the instance. An instance that runs no more is Gone, without
	// an error.
	State(ctx context.Context) (State, error)
	// Resume lets a paused or stuck guest go on.
	Resume(ctx context.Context) error
	// Pause holds the guest still.
	Pause(ctx context.Context) error
	// Stop asks the guest to power down and kills it once grace is over. It
	// returns when the instance is gone, and does nothing if it is.
	Stop(ctx context.Context, grace time.Duration) error
	// Changed is closed at the next change of state; ask for it before State.
	Changed() <-chan struct{}
	// Console is the path of the log of the guest's serial console.
	Console() string
	// Close lets go of the instance, which runs on.
	Close() error
}

// Mover is an instance that can move to another host with its memory. Source
// side: Send, Cancel, Handover. Target side: Receive, TakeOver, Hydration,
// Settle. All of them may be repeated.
//
// The order of a move: target.Receive; source.Send; wait for Held;
// source.Handover; the secondary (see Restorer) exports the source's disks;
// target.TakeOver; wait until Hydration is Ready; target.Settle.
type Mover interface {
	Instance
	// Receive makes an incoming instance listen for memory at an address of
	// this host (host:port, port 0: any free) and returns the real address.
	Receive(ctx context.Context, listen string) (string, error)
	// Send begins to send memory to the address of a Receive; peer is the
	// name in the certificate of the other side. It returns at once.
	Send(ctx context.Context, to, peer string, rate int64) error
	// Sent tells how far Send is.
	Sent(ctx context.Context) (MemoryProgress, error)
	// Cancel ends a Send that was not handed over; the guest goes on here. If
	// the guest is Sent already the error is of kind Conflict.
	Cancel(ctx context.Context) error
	// Handover completes a held Send. Afterwards the instance is Sent: its
	// guest does not run and its disks are closed. If they were hydrating, that
	// ends, and only their origins are of worth. It returns how long the guest
	// stood, by the hypervisor's account. NotFound: the instance has ended.
	Handover(ctx context.Context) (time.Duration, error)
	// TakeOver, on the instance that received, begins hydration of all disks
	// from their origins and lets the guest run. Every write of the guest
	// reaches the origin before the guest sees it done. Without origins the
	// local files are the disks.
	TakeOver(ctx context.Context, origins []Origin) error
	// Hydration tells how far the disks are.
	Hydration(ctx context.Context) (Hydration, error)
	// SetRate bounds the copy in bytes a second; 0: no limit.
	SetRate(ctx context.Context, rate int64) error
	// Settle holds the guest still, flushes, and calls whole, which may read
	// both sides of each disk; if it agrees every disk leaves its origin. The
	// guest goes on in any case. Settle does nothing if the disks left already. A
	// Disk that is Filled has nothing to compare: it leaves its origin in any case.
	Settle(ctx context.Context, whole func(context.Context) error) error
}

// MemoryMover is a Mover whose memory can go in other ways than by passes over it on
// one connection, and whose guest can leave before all of it is sent: the rest follows
// while it runs on the other side. Until then both sides and the connection are needed:
// if one of them fails, the guest's memory is lost.
type MemoryMover interface {
	Mover
	// PrepareMemory prepares an instance for a way, on the target before Receive
	// and on the source before Send: both sides have to be prepared alike.
	// Unsupported: the host cannot.
	PrepareMemory(ctx context.Context, w Way) error
	// DirtyRate measures, for a second, how much memory the guest changes in one,
	// in bytes.
	DirtyRate(ctx context.Context) (int64, error)
	// Hurry makes a Sending instance Held as soon as it can, whatever is left of
	// the memory. After Handover it is Sent, and MemoryProgress tells how much
	// still Follows.
	Hurry(ctx context.Context) error
}

// Way is how memory goes.
type Way string

// The ways.
const (
	// Precopy is in passes, before the guest leaves.
	Precopy Way = ""
	// Parallel is Precopy over several connections at once.
	Parallel Way = "parallel"
	// Compressed is Parallel, and what is sent is compressed.
	Compressed Way = "compressed"
	// Postcopy is Precopy, and what is left may follow the guest.
	Postcopy Way = "postcopy"
	// Preempt is Postcopy that sends what the guest waits for past all else.
	Preempt Way = "postcopy, preempt"
)

// CompressedCapability is "yes" where memory can go Compressed.
const CompressedCapability = "memory.compressed"

// Several reports whether memory goes over several connections.
func (w Way) Several() bool { return w == Parallel || w == Compressed }

// Follows reports whether memory may follow the guest.
func (w Way) Follows() bool { return w == Postcopy || w == Preempt }

// Carded is an instance that can give its network cards' taps to whoever sends on
// what comes for a guest that has left.
type Carded interface {
	Instance
	// TAPs duplicates the descriptors of its cards' tap devices, in the order of its
	// spec. The caller closes them: a tap is there for as long as one is open.
	TAPs() ([]*os.File, error)
}

// Resizer is an instance whose disks can grow while its guest runs.
type Resizer interface {
	Instance
	// Resize makes a disk as large as size, in bytes, and lets the guest see it.
	// It does nothing if the disk is that large. Invalid: the disk is larger;
	// NotFound: there is no such disk; Conflict: the disk still hydrates, or the
	// guest is on its way to or from another host.
	Resize(ctx context.Context, disk string, size int64) error
}

// Origin is where a disk's bytes come from while it hydrates: an NBD export. Of one
// that fills a Disk, Disk and Reads mean nothing.
type Origin struct {
	Disk    string `json:"disk"`    // name in the Spec
	Address string `json:"address"` // host:port
	Export  string `json:"export"`
	Peer    string `json:"peer"`           // name in the certificate of the origin
	Rate    int64  `json:"rate,omitempty"` // bytes a second; 0: no limit
	Reads   Reads  `json:"reads,omitempty"`
}

// Reads is where a guest reads from while its disk hydrates. Writes and flushes
// reach both sides before the guest sees them done, whichever it is.
type Reads string

const (
	// ReadSource is the origin. It is the default, also of no word.
	ReadSource Reads = "source"
	// ReadLocal is the local file, as far as it has what is asked for. What a guest
	// had to read from the origin it finds there afterwards. Unsupported, if the
	// host cannot; the capability is ReadLocalCapability.
	ReadLocal Reads = "local"
)

// ReadLocalCapability is "yes" where ReadLocal can be had.
const ReadLocalCapability = "reads.local"

// MemoryProgress is how far the memory is.
type MemoryProgress struct {
	State      State         `json:"state"` // Sending, Held, Sent; Running after a failure or a cancel
	Error      string        `json:"error,omitempty"`
	Total      int64         `json:"total"`      // bytes
	Remaining  int64         `json:"remaining"`  // bytes
	Rate       int64         `json:"rate"`       // bytes a second
	DirtyRate  int64         `json:"dirty_rate"` // bytes a second
	Moved      int64         `json:"moved"`      // bytes that were sent, pages sent again among them
	Setup      time.Duration `json:"setup"`      // what the hypervisor took before it sent any
	Downtime   time.Duration `json:"downtime"`   // the hypervisor's own figure, once Sent
	Iterations int64         `json:"iterations"`
	Follows    bool          `json:"follows,omitempty"` // Sent, but memory still follows; Error says that it cannot
}

// Hydration is how far the disks of an instance are.
type Hydration struct {
	Done    int64  `json:"done"`    // bytes, of all disks
	Total   int64  `json:"total"`   // bytes, of all disks
	Ready   bool   `json:"ready"`   // every disk is a full mirror of its origin
	Settled bool   `json:"settled"` // no origin is used any more
	Leaving bool   `json:"leaving"` // a disk has left its origin, if not all have: what is written there is here alone
	Paused  bool   `json:"paused"`  // an error holds the copy up; Resume tries again
	Error   string `json:"error,omitempty"`
	Follows bool   `json:"follows,omitempty"` // memory is still missing, see MemoryMover
}

// Restorer is a driver that can serve the disks of a stopped instance to
// others: the secondary of a move.
type Restorer interface {
	// Secondary starts a process that will export disks; it opens none yet, so
	// it may be started while an instance still has them.
	Secondary(ctx context.Context, spec SecondarySpec) (Secondary, error)
	// AttachSecondary finds it again, as Attach does an instance; NotFound if it is gone.
	AttachSecondary(ctx context.Context, h Handle) (Secondary, error)
}

// SecondarySpec is a secondary to start.
type SecondarySpec struct {
	Machine string `json:"machine"`
	Dir     string `json:"dir"`
	Listen  string `json:"listen"` // host:port, port 0: any free
	TLS     *TLS   `json:"tls,omitempty"`
	Peer    string `json:"peer,omitempty"` // with TLS: the only one that may use the exports; empty: any of the authority
}

// Secondary serves disks over NBD.
type Secondary interface {
	Handle() Handle
	PID() int
	// Address is where it listens.
	Address() string
	// Export opens disks, each under its name. Repeating it does nothing.
	Export(ctx context.Context, disks []Disk) error
	// Revoke closes the exports: whoever used them can write no more, which is
	// what makes it a fence. The disks are flushed and closed.
	Revoke(ctx context.Context) error
	// Stop revokes and ends the process.
	Stop(ctx context.Context) error
	// Alive tells whether it still runs.
	Alive(ctx context.Context) bool
	Close() error
}
