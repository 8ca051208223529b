package droveway

// Repair says whether an import changes what keeps the guest from running here.
type Repair string

// When to repair.
const (
	RepairAuto  Repair = "auto"  // if it would not run otherwise, and if that can be done here
	RepairNone  Repair = "none"  // never: the image stays as it is
	RepairForce Repair = "force" // whatever the plan has, or the import fails
)

// Validate checks the word; empty is RepairAuto.
func (r Repair) Validate() error {
	switch r {
	case "", RepairAuto, RepairNone, RepairForce:
		return nil
	}
	return Errorf(Invalid, "repair %q: use %s, %s or %s", string(r), RepairAuto, RepairNone, RepairForce)
}

// Check says whether an import boots the image before it publishes it.
type Check string

// When to boot.
const (
	CheckAuto Check = "auto" // if it was repaired, and if that can be done here
	CheckNone Check = "none"
	CheckBoot Check = "boot" // always, or the import fails
)

// Validate checks the word; empty is CheckAuto.
func (c Check) Validate() error {
	switch c {
	case "", CheckAuto, CheckNone, CheckBoot:
		return nil
	}
	return Errorf(Invalid, "check %q: use %s, %s or %s", string(c), CheckAuto, CheckBoot, CheckNone)
}

// Addresses says what a repair does with the fixed IP addresses of a guest.
type Addresses string

// What becomes of fixed addresses.
const (
	AddressesKeep Addresses = "keep"
	AddressesDHCP Addresses = "dhcp" // given up: the guest asks for new ones by DHCP
)

// Validate checks the word; empty is AddressesKeep.
func (a Addresses) Validate() error {
	switch a {
	case "", AddressesKeep, AddressesDHCP:
		return nil
	}
	return Errorf(Invalid, "addresses %q: use %s or %s", string(a), AddressesKeep, AddressesDHCP)
}

// Rebuild says who makes the initramfs and the loader's configuration in a repair.
type Rebuild string

// Who makes them.
const (
	RebuildAuto  Rebuild = "auto"  // the repair itself, where writing files is enough
	RebuildGuest Rebuild = "guest" // the guest's own programs
)

// Validate checks the word; empty is RebuildAuto.
func (r Rebuild) Validate() error {
	switch r {
	case "", RebuildAuto, RebuildGuest:
		return nil
	}
	return Errorf(Invalid, "rebuild %q: use %s or %s", string(r), RebuildAuto, RebuildGuest)
}

// ImageSystem is what an image holds, and what a repair would change in it.
type ImageSystem struct {
	Status   ImageState      `json:"status"`       // identified, ambiguous or unsupported
	ID       string          `json:"id,omitempty"` // of osinfo
	Name     string          `json:"name,omitempty"`
	Version  string          `json:"version,omitempty"`
	Family   string          `json:"family,omitempty"`   // of systems that are repaired alike: debian, windows, …
	Firmware []Firmware      `json:"firmware,omitempty"` // it boots with
	Findings []ImageFinding  `json:"findings,omitempty"`
	Steps    []PlannedChange `json:"steps,omitempty"`
	Needed   bool            `json:"needed,omitempty"`  // without some of the steps it would not run here, or not as it was ordered
	Blocked  bool            `json:"blocked,omitempty"` // it would not run here, and no repair helps
}

// ImageFinding is something about an image that its user must know.
type ImageFinding struct {
	Level  string `json:"level"` // "warning", or "blocker": it will not run
	What   string `json:"what"`
	Why    string `json:"why"`
	Advice string `json:"advice,omitempty"`
}

// PlannedChange is a step of a repair.
type PlannedChange struct {
	Step  string   `json:"step"`
	What  string   `json:"what"`
	Why   string   `json:"why"`
	Files []string `json:"files,omitempty"` // in the guest
	Runs  []string `json:"runs,omitempty"`  // programs of the guest, with their arguments
}

// Change is a file of the guest that a repair has made or changed.
type Change struct {
	Step   string `json:"step"`
	Path   string `json:"path"`             // in the guest
	Before string `json:"before,omitempty"` // SHA-256; empty: there was no such file
	After  string `json:"after,omitempty"`  // SHA-256, or where a symbolic link leads
	Backup string `json:"backup,omitempty"` // where the original is kept, in the guest
}
