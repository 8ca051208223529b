package host

import (
	"net/netip"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// The verbs that a host answers. All of them may be repeated: what is done
// already is not done again. A verb that takes long answers after waitMax with
// Pending set; the Client asks again until it is done.
const (
	verbNetworks = "networks"
	verbCreate   = "create"
	verbStart    = "start"
	verbStop     = "stop"
	verbRemove   = "remove"
	verbShow     = "show"
	verbConsole  = "console"
	verbResize   = "resize"

	verbReserve   = "move.reserve"
	verbDiscard   = "move.discard"
	verbSecondary = "move.secondary"
	verbSend      = "move.send"
	verbAwait     = "move.await"
	verbCancel    = "move.cancel"
	verbHandover  = "move.handover"
	verbTakeOver  = "move.takeover"
	verbHydration = "move.hydration"
	verbRate      = "move.rate"
	verbSums      = "move.sums"
	verbHold      = "move.hold"
	verbVerdict   = "move.verdict"
	verbRevoke    = "move.revoke"
	verbRelease   = "move.release"
	verbWelcome   = "move.welcome"
	verbUnwelcome = "move.unwelcome"
	verbGiveBack  = "move.giveback"
	verbHome      = "move.home"
	verbLeave     = "move.leave"
	verbProbe     = "probe"
	verbHurry     = "move.hurry"
	verbDirty     = "move.dirty"
)

// Networks tells a host which networks there are and where the other hosts
// are.
type Networks struct {
	Networks []droveway.Network `json:"networks"`
	Peers    []netip.Addr       `json:"peers"` // of all hosts, this one among them
}

// Instance is an instance for a host to run. Its Token fences it: a host that
// has seen a greater one for the machine refuses.
type Instance struct {
	Machine   string            `json:"machine"`
	Token     uint64            `json:"token"`
	UUID      string            `json:"uuid"`
	CPUs      int               `json:"cpus"`
	CPU       droveway.CPU      `json:"cpu,omitempty"`
	MemoryMiB int64             `json:"memory_mib"`
	Firmware  droveway.Firmware `json:"firmware,omitempty"`
	Disks     []Disk            `json:"disks"`
	NICs      []NIC             `json:"nics,omitempty"`
	SSHKeys   []string          `json:"ssh_keys,omitempty"`
	UserData  string            `json:"user_data,omitempty"`
}

// Disk is a disk of an Instance.
type Disk struct {
	Name   string          `json:"name"`
	Image  *Image          `json:"image,omitempty"`  // nil: blank
	Origin *Origin         `json:"origin,omitempty"` // instead of an image
	Format droveway.Format `json:"format"`
	Size   int64           `json:"size"` // bytes
}

// Origin is an image that is not here yet: what a disk lacks of it is read from the
// server, while its guest runs.
type Origin struct {
	Name string `json:"name"` // of the server's export
	Port string `json:"port"` // of the server
	Peer string `json:"peer"` // name in the server's certificate
	Rate int64  `json:"rate"` // of the copy at first, bytes a second; 0: no limit
}

// Image is where a new volume gets its bytes: the server's image library.
type Image struct {
	Name   string          `json:"name"`
	Format droveway.Format `json:"format"`
	Bytes  int64           `json:"bytes"` // of the file
	SHA256 string          `json:"sha256"`
}

// NIC is a network card of an Instance.
type NIC struct {
	Network droveway.Network `json:"network"`
	MAC     string           `json:"mac"`
	Address netip.Prefix     `json:"address"`
}

// Role is what a host has of a machine.
//
//	          create         start
//	(nothing) ─────▶ idle ◀─────────▶ home ──send──▶ leaving ──handover──▶ secondary ──release──▶ (nothing)
//	                  ▲                │ ▲  ◀─cancel──                      ▲  │  │
//	                  │                │ └──────────── home ────────────────│──┤  │
//	                  └────────────────│──────────── revoke ────────────────│──┘  │
//	                                   └──────────────leave─────────────────┘  welcome
//
//	(nothing) ──reserve──▶ arriving ──takeover──▶ hydrating ──verdict──▶ home
//	                          │                       └──giveback──▶ returned
//	                       discard                                      │
//	                       (nothing)                                 discard
type Role string

// The roles.
const (
	RoleNone      Role = "none"
	RoleIdle      Role = "idle"      // its disks, no instance
	RoleHome      Role = "home"      // its instance and its disks
	RoleLeaving   Role = "leaving"   // its instance, sending memory
	RoleSecondary Role = "secondary" // its disks, served to the host where it runs
	RoleArriving  Role = "arriving"  // an instance that waits for memory
	RoleHydrating Role = "hydrating" // its instance; the disks are not whole yet
	RoleReturned  Role = "returned"  // an instance that has gone back, disks of no worth

	// RoleUnknown is none that a host has given, but what is left to say of a machine
	// whose record it cannot read: no command is for it.
	RoleUnknown Role = "unknown"
)

// recordedRoles are those that a record may say.
var recordedRoles = []Role{RoleNone, RoleIdle, RoleHome, RoleLeaving, RoleSecondary, RoleArriving, RoleHydrating, RoleReturned}

// Observed is what a host sees of a machine. It is the reply to most verbs and
// what the host publishes.
type Observed struct {
	Machine  string           `json:"machine"`
	Host     string           `json:"host"`
	Role     Role             `json:"role"`
	Token    uint64           `json:"token"`
	Instance hypervisor.State `json:"instance"` // Gone if there is none
	PID      int              `json:"pid,omitempty"`
	Console  string           `json:"console,omitempty"` // path on the host
	Message  string           `json:"message,omitempty"` // what is wrong, if something is
	Vars     int64            `json:"vars,omitempty"`    // bytes of its UEFI variables here; 0: none
	Held     bool             `json:"held,omitempty"`    // nobody knows what of it runs: it is left alone
	At       time.Time        `json:"at"`
}

// Ref names a machine, and the token of the caller.
type Ref struct {
	Machine string `json:"machine"`
	Token   uint64 `json:"token"`
}

// Stop is an order to stop a machine.
type Stop struct {
	Ref
	Grace time.Duration `json:"grace"`
}

// Resize is an order to make disks larger.
type Resize struct {
	Ref
	Disks []DiskSize `json:"disks"`
}

// DiskSize is how large a disk is, or is to be.
type DiskSize struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Resized is the reply to Resize: how large the disks are now and, if one of them
// is not as large as ordered, why not.
type Resized struct {
	Disks   []DiskSize `json:"disks"`
	Refused string     `json:"refused,omitempty"`
}

// Send is an order to send memory.
type Send struct {
	Ref
	To   string         `json:"to"`            // address that Reserve gave
	Peer string         `json:"peer"`          // name of the target host
	Way  hypervisor.Way `json:"way,omitempty"` // that Reserve gave
	Rate int64          `json:"rate,omitempty"`
}

// Reserve is an order to make room for an instance that comes from a peer, the
// only one whose memory is taken.
type Reserve struct {
	Instance
	Peer string `json:"peer"`
	// Boots says that no memory will come: the guest is to boot.
	Boots bool `json:"boots,omitempty"`
	// Way is how memory is to come, if this host can have it so.
	Way hypervisor.Way `json:"way,omitempty"`
}

// Secondary is an order to prepare to serve a machine's disks to a peer, and to
// nobody else.
type Secondary struct {
	Ref
	Peer string `json:"peer"`
}

// Reserved is the reply to Reserve.
type Reserved struct {
	Address string         `json:"address"`        // where the instance waits for memory
	Way     hypervisor.Way `json:"way,omitempty"`  // how it waits for it
	Vars    int64          `json:"vars,omitempty"` // bytes that UEFI variables have here; 0: not known
}

// Dirty is how much memory a guest changes.
type Dirty struct {
	Rate int64 `json:"rate"` // bytes a second
}

// Handover is an order to end sending: the guest goes to the other side.
type Handover struct {
	Ref
	// Received says that the target has the whole memory, so that the instance
	// here is not needed, not even alive.
	Received bool `json:"received,omitempty"`
}

// Exported is the reply to Secondary and Handover.
type Exported struct {
	Address  string        `json:"address"` // of the NBD server
	Downtime time.Duration `json:"downtime"`
	// Vars is, after Leave, what TakeOver is to be given: memory has them with it.
	Vars Vars `json:"vars,omitempty"`
}

// Vars are the variables of a machine's UEFI firmware, by gzip and base64; empty: it has
// none.
type Vars string

// Probe is an order to wait for a sign of life of the guest.
type Probe struct {
	Ref
	Within time.Duration `json:"within"`
	Boots  bool          `json:"boots,omitempty"` // the guest boots; otherwise it goes on
}

// TakeOver is an order to run with the disks of another host.
type TakeOver struct {
	Ref
	Address string           `json:"address"` // of the origin
	Peer    string           `json:"peer"`
	Rate    int64            `json:"rate,omitempty"`
	Reads   hypervisor.Reads `json:"reads,omitempty"`
	Vars    Vars             `json:"vars,omitempty"` // for a guest that boots
}

// Rate is an order to copy faster or slower.
type Rate struct {
	Ref
	Rate int64 `json:"rate"` // bytes a second; 0: no limit
}

// Sums asks for the hashes of chunks of a disk.
type Sums struct {
	Ref
	Disk   string  `json:"disk"`
	Chunks []int64 `json:"chunks"`
}

// Verdict ends a Hold: the disks are equal, or they are not.
type Verdict struct {
	Ref
	Equal bool `json:"equal"`
}

// Console asks for the log of a machine's serial console from an offset.
type Console struct {
	Machine string `json:"machine"`
	Offset  int64  `json:"offset"`
}

// ConsoleData is a piece of that log; Next is the offset after it.
type ConsoleData struct {
	Data []byte `json:"data"`
	Next int64  `json:"next"`
}

// Hydration is how far the disks of a machine are, and how its instance is.
type Hydration struct {
	hypervisor.Hydration
	Instance hypervisor.State `json:"instance"`
	Lacks    []string         `json:"lacks,omitempty"` // names of disks that an origin still fills
}
