package droveway

import "time"

// HostState is what the fleet knows of a host.
//
//	joined ──heartbeat──▶ ready ◀──heartbeat── unknown
//	                        │                     ▲
//	                        └──lease runs out─────┘
//
// A silent host is unknown, never presumed dead: its machines may well run.
type HostState string

// The states of a host.
const (
	HostJoined  HostState = "joined"
	HostReady   HostState = "ready"
	HostUnknown HostState = "unknown"
)

// Host is a computer that runs machines.
type Host struct {
	Meta
	Spec   HostSpec   `json:"spec"`
	Status HostStatus `json:"status"`
}

// HostSpec is what is wanted of a host.
type HostSpec struct {
	// Cordoned keeps new machines away.
	Cordoned bool `json:"cordoned,omitempty"`
}

// HostStatus is what a host reports of itself; the server adds State and Since.
type HostStatus struct {
	State        HostState         `json:"state"`
	Since        time.Time         `json:"since,omitzero"`
	Address      string            `json:"address"`          // for the traffic between hosts: an IP address
	Capabilities map[string]string `json:"capabilities"`     // probed: "accelerator": "tcg", "qemu": "7.2.22", …
	CPUs         int               `json:"cpus"`             // logical
	MemoryMiB    int64             `json:"memory_mib"`       // whole
	DiskFreeMiB  int64             `json:"disk_free_mib"`    // in the pool
	Version      string            `json:"version"`          // of the host role
	Started      time.Time         `json:"started,omitzero"` // the agent: guests outlive it
	Held         []HeldMachine     `json:"held,omitempty"`
}

// HeldMachine is a machine that a host leaves alone, since it cannot find out what of it
// runs there.
type HeldMachine struct {
	Machine string    `json:"machine"`
	Since   time.Time `json:"since"`
	Message string    `json:"message"` // why, and what to do
}
