package client

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/droveway/droveway"
)

// List is the answer to every question for many objects.
type List[T any] struct {
	Items []T `json:"items"`
}

// MachineRequest asks for a new machine.
type MachineRequest struct {
	Name string               `json:"name" doc:"DNS label, at most 63 characters"`
	Spec droveway.MachineSpec `json:"spec"`
}

// StopRequest asks a machine to power down.
type StopRequest struct {
	GraceSeconds int64 `json:"grace_seconds,omitempty" minimum:"0" maximum:"3600" doc:"Time that the guest has to power down before it is killed; 0: the server's default"`
}

// ResizeRequest asks for another size of a machine.
type ResizeRequest struct {
	CPUs      int          `json:"cpus,omitempty" minimum:"0" doc:"Of a stopped machine; 0: as it is"`
	CPU       droveway.CPU `json:"cpu,omitempty" doc:"What the guest of a stopped machine is to see: host, baseline, x86-64-v1 to x86-64-v4, or a model of the hypervisor; empty: as it is"`
	MemoryMiB int64        `json:"memory_mib,omitempty" minimum:"0" doc:"Of a stopped machine; 0: as it is"`
	Disks     []DiskSize   `json:"disks,omitempty" doc:"Disks that are to grow, whether the machine runs or not; the others stay as they are"`
}

// DiskSize is how large a disk is, or is to be.
type DiskSize struct {
	Name    string `json:"name"`
	SizeMiB int64  `json:"size_mib" minimum:"1"`
}

// Size is how large a machine is. It is the Result of a job of kind
// machine-resize.
type Size struct {
	CPUs      int          `json:"cpus"`
	CPU       droveway.CPU `json:"cpu,omitempty"`
	MemoryMiB int64        `json:"memory_mib"`
	Disks     []DiskSize   `json:"disks"`
}

// ResizePlan is what a resize would do.
type ResizePlan struct {
	Machine string   `json:"machine"`
	Host    string   `json:"host"`
	Before  Size     `json:"before"`
	After   Size     `json:"after"`
	Steps   []string `json:"steps"`
}

// MoveRequest asks for a live move.
type MoveRequest struct {
	To       string `json:"to,omitempty" doc:"Host to move to; empty: the server chooses"`
	Instant  bool   `json:"instant,omitempty" doc:"Switch over before the memory has been sent; it follows, and is lost if a host or the link fails meanwhile"`
	SyncRate int64  `json:"sync_rate,omitempty" minimum:"0" doc:"Bound of the disk copy in bytes a second; 0: none"`
	Reads    string `json:"reads,omitempty" enum:"source,local" doc:"Where the guest reads from while its disks follow. source (default): the old host. local: the new one, if what it reads has been copied or read before"`
	Memory   string `json:"memory,omitempty" enum:"auto,single,parallel,compressed" doc:"Over how many connections memory goes. parallel: several; compressed: the same, for slow links; single: one, after which it can follow. auto (default): several if there is much of it and the guest changes little"`
}

// RateRequest changes the rate of the copy while a machine moves.
type RateRequest struct {
	SyncRate int64 `json:"sync_rate" minimum:"0" doc:"Bound of the disk copy in bytes a second; 0: none"`
}

// MovePlan is what a move would do.
type MovePlan struct {
	Machine   string            `json:"machine"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	MemoryMiB int64             `json:"memory_mib"`        // goes before the machine runs at its new place
	DiskMiB   int64             `json:"disk_mib"`          // follows afterwards
	Risk      string            `json:"risk,omitempty"`    // what is at stake meanwhile, beyond the disks
	WhyNot    map[string]string `json:"why_not,omitempty"` // hosts that cannot take it, and why
	Steps     []string          `json:"steps"`
}

// RestartRequest asks for a restart.
type RestartRequest struct {
	To            string `json:"to,omitempty" doc:"Host to restart on; empty: the server chooses"`
	Mode          string `json:"mode,omitempty" enum:"reboot,refresh" doc:"reboot (default): the guest boots anew; refresh: it goes on with its memory in a new instance"`
	GraceSeconds  int64  `json:"grace_seconds,omitempty" minimum:"0" maximum:"3600" doc:"Time that the guest has to power down; 0: the server's default"`
	WithinSeconds int64  `json:"within_seconds,omitempty" minimum:"0" maximum:"3600" doc:"Time that the guest has for a sign of life; 0: the server's default"`
	SyncRate      int64  `json:"sync_rate,omitempty" minimum:"0" doc:"Bound of the disk copy in bytes a second; 0: none"`
}

// RestartPlan is what a restart would do.
type RestartPlan struct {
	Machine string            `json:"machine"`
	Mode    string            `json:"mode"` // reboot, refresh or in-place
	From    string            `json:"from"`
	To      string            `json:"to"`
	WhyNot  map[string]string `json:"why_not,omitempty"`
	Steps   []string          `json:"steps"`
}

// RestartResult is the Result of a job of kind machine-restart.
type RestartResult struct {
	MoveResult
	Mode      string    `json:"mode"`
	Away      int64     `json:"downtime_ms"` // from the end of the guest until its sign of life
	Confirmed time.Time `json:"confirmed"`
}

// MoveResult is the Result of a job of kind machine-move. Times are in
// milliseconds.
type MoveResult struct {
	From             string  `json:"from"`
	To               string  `json:"to"`
	RequestToRunning int64   `json:"request_to_running_ms"` // from the request until the machine ran at its new place
	Downtime         int64   `json:"qemu_downtime_ms"`      // how long the guest stood still, as its hypervisor says
	Memory           *Memory `json:"memory,omitempty"`      // nil: none was sent
	Sync             int64   `json:"sync_ms"`
	SyncBytes        int64   `json:"sync_bytes"`
	Equal            bool    `json:"equal"` // both copies of the disks were proved equal
	Live             string  `json:"live"`  // host on which the machine is now
	Why              string  `json:"why,omitempty"`
}

// Memory is how a machine's memory went over.
type Memory struct {
	Way       string `json:"way"`                 // "precopy", "postcopy", "precopy, postcopy after 5 passes"
	Passes    int64  `json:"passes"`              // over the memory
	Bytes     int64  `json:"bytes"`               // that were sent
	LinkRate  int64  `json:"link_rate"`           // bytes a second, as measured
	DirtyRate int64  `json:"dirty_rate"`          // bytes a second that the guest changed
	Setup     int64  `json:"setup_ms"`            // of the hypervisor, before it sent any
	Switch    int64  `json:"switch_ms,omitempty"` // from when postcopy was asked for until the guest ran at its new place
	Why       string `json:"why,omitempty"`       // it goes on for so long, or took this way
}

// HostPatch changes what is wanted of a host.
type HostPatch struct {
	Cordoned *bool `json:"cordoned,omitempty" doc:"Keep new machines away"`
}

// NetworkRequest asks for a new network.
type NetworkRequest struct {
	Name   string       `json:"name"`
	Subnet netip.Prefix `json:"subnet" doc:"IPv4 subnet, as 10.30.0.0/24"`
	VNI    uint32       `json:"vni,omitempty" maximum:"16777215" doc:"VXLAN network identifier; 0: the server gives one"`
}

// TokenRequest asks for a secret that lets somebody in.
type TokenRequest struct {
	Role string `json:"role" enum:"host,probe" doc:"host: lets one host join; probe: lets one probe join"`
	Life string `json:"life,omitempty" doc:"As 30m or 1h; at most 720h, 1h if empty"`
}

// Token is such a secret. It is shown once.
type Token struct {
	Token   string    `json:"token"`
	Role    string    `json:"role"`
	Expires time.Time `json:"expires"`
}

// JoinRequest is how a host asks to become part of the fleet. Its private keys
// never leave it.
type JoinRequest struct {
	Token   string `json:"token" maxLength:"256"`
	Name    string `json:"name" doc:"The host's name in the fleet"`
	Address string `json:"address" maxLength:"64" doc:"IP address for the traffic between hosts"`
	NKey    string `json:"nkey" maxLength:"128" doc:"Public user nkey for the bus"`
	CSR     string `json:"csr,omitempty" maxLength:"16384" doc:"Certificate request of a host, PEM"`
	Role    string `json:"role,omitempty" enum:"host,probe" doc:"What joins, as its token says; empty: host"`
	Site    string `json:"site,omitempty" maxLength:"63" doc:"Site of a probe; empty: default"`
}

// Joined is what a host needs from then on.
type Joined struct {
	BusURL   string `json:"bus_url"`
	JWT      string `json:"jwt"`
	CA       string `json:"ca"`        // PEM
	Cert     string `json:"cert"`      // PEM; of a host
	APIToken string `json:"api_token"` // for downloads of images; of a host
}

// RenewRequest is how a host asks for a certificate in place of one that ends.
type RenewRequest struct {
	CSR string `json:"csr" maxLength:"16384" doc:"Certificate request, PEM"`
}

// Renewed is the answer.
type Renewed struct {
	Cert string `json:"cert"` // PEM
}

// Problem is an error on the wire: RFC 9457 with the members kind, feature and
// errors added.
type Problem struct {
	Type    string        `json:"type,omitempty" doc:"about:blank: the title says it"`
	Title   string        `json:"title"`
	Status  int           `json:"status"`
	Detail  string        `json:"detail" doc:"What was wrong, where, and what to do"`
	Kind    droveway.Kind `json:"kind" enum:"invalid,not_found,exists,conflict,unsupported,permission,unavailable,internal"`
	Feature string        `json:"feature,omitempty" doc:"unsupported: the missing feature"`
}

// Decode reads the result of a job into out, whose type belongs to the job's
// kind.
func Decode(result json.RawMessage, out any) error {
	if err := json.Unmarshal(result, out); err != nil {
		return droveway.Errorf(droveway.Internal, "read the job's result: %w", err)
	}
	return nil
}

// ImportRequest says what the server is to import. Give a link or an upload.
type ImportRequest struct {
	Link   string `json:"link,omitempty" doc:"Address as https://host/path that the server fetches. It is kept apart from the job, as it may hold secrets"`
	Shown  string `json:"shown,omitempty" maxLength:"2048" doc:"How people see that address (default: the link without user, password and query)"`
	Upload string `json:"upload,omitempty" maxLength:"64" doc:"Name of an upload that is whole"`
	Disk   string `json:"disk,omitempty" doc:"Which disk of an archive, by number from 1 on or by name (default: all, as NAME-1 and so on if there are several)"`
	SHA256 string `json:"sha256,omitempty" doc:"SHA-256 that the source must have, in hexadecimal"`

	Repair    droveway.Repair    `json:"repair,omitempty" enum:"auto,none,force" doc:"Change what keeps the guest from running here (default: auto, if it would not run otherwise)"`
	Check     droveway.Check     `json:"check,omitempty" enum:"auto,boot,none" doc:"Boot the image before it is published (default: auto, if it was repaired)"`
	Addresses droveway.Addresses `json:"addresses,omitempty" enum:"keep,dhcp" doc:"Fixed IP addresses of the guest: kept, or given up for those of DHCP, which counts as a repair that is needed (default: keep)"`
	Rebuild   droveway.Rebuild   `json:"rebuild,omitempty" enum:"auto,guest" doc:"Who makes the initramfs and the loader's configuration in a repair: auto writes files where that is enough, guest has the guest's own programs do it (default: auto)"`
	Keys      []LUKSKey          `json:"luks_keys,omitempty" maxItems:"64" doc:"Keys of encrypted volumes, so that a repair can be made inside. The server keeps them in memory, until the import has ended"`
	MACs      []string           `json:"macs,omitempty" maxItems:"8" doc:"Addresses of the machine's network cards, so that a repair can keep their names"`
	VirtioWin string             `json:"virtio_win,omitempty" maxLength:"64" doc:"Image that is a virtio-win ISO: the drivers that a repair puts into a Windows come from it"`
}

// LUKSKey opens encrypted volumes.
type LUKSKey struct {
	Name string `json:"name" maxLength:"4096" doc:"What messages call it, as the name of its file"`
	UUID string `json:"uuid,omitempty" doc:"Of the volume it is for (default: it is tried on all)"`
	Key  []byte `json:"key" maxLength:"90000" doc:"The key or passphrase itself, in base64"`
}

// OriginRequest names the source of an image that a machine is to run from before it
// is here.
type OriginRequest struct {
	Link   string `json:"link" doc:"Address as https://host/path of a server that gives parts of files. It is kept apart from the machine, as it may hold secrets"`
	Shown  string `json:"shown,omitempty" maxLength:"2048" doc:"How people see that address (default: the link without user, password and query)"`
	Disk   string `json:"disk,omitempty" doc:"Which disk of an archive, by number from 1 on or by name (default: its only one)"`
	SHA256 string `json:"sha256,omitempty" doc:"SHA-256 that the source must have, in hexadecimal. It is checked once all of it is here: the machine runs before"`
}

// Filled is the Result of a job of kind machine-create whose machine ran from a
// source that was not here yet. Times are in milliseconds, from the request on.
type Filled struct {
	From           string `json:"from"`
	RequestToAlive int64  `json:"request_to_alive_ms,omitempty"` // until the guest gave a sign of life; 0: none was seen
	RequestToWhole int64  `json:"request_to_whole_ms,omitempty"` // until its disk was whole
	SHA256         string `json:"sha256,omitempty"`              // of the source, if it was ordered
}

// UploadState is how far an upload is.
type UploadState struct {
	Offset int64 `json:"offset" doc:"Bytes that have arrived: go on from there"`
}
