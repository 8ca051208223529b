package droveway

// Firmware is what a machine begins with when it is switched on.
type Firmware string

// The firmware that machines can have.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi" // without secure boot
)

// UEFICapability is the capability of hosts that start machines with UEFI.
const UEFICapability = "firmware.uefi"

// Validate checks the firmware; empty is BIOS. Secure boot is Unsupported.
func (f Firmware) Validate() error {
	switch f {
	case "", BIOS, UEFI:
		return nil
	case "uefi-secure", "secure-boot", "secureboot":
		return Missing("firmware.secure-boot", "firmware %q: machines have no secure boot: use %s, with which a signed loader starts, too", string(f), UEFI)
	}
	return Errorf(Invalid, "firmware %q: use %s or %s", string(f), BIOS, UEFI)
}

// Requires is the capability that a host needs for it; empty: none.
func (f Firmware) Requires() string {
	if f == UEFI {
		return UEFICapability
	}
	return ""
}
