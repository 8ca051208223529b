package droveway

import "time"

// Format is how a disk's bytes lie in its file.
type Format string

// The formats of volumes.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
)

// Validate checks the format.
func (f Format) Validate() error {
	if f != Raw && f != QCOW2 {
		return Errorf(Invalid, "disk format %q: use %s or %s", string(f), Raw, QCOW2)
	}
	return nil
}

// VolumeState is where a volume is in its life.
//
//	creating ─▶ whole ─▶ (removed)
//	hydrating ────▲
//
// A hydrating volume has not all its bytes yet: the rest is read from its
// origin, which is kept current until the volume is whole and proved equal.
type VolumeState string

// The states of a volume.
const (
	VolumeCreating  VolumeState = "creating"
	VolumeHydrating VolumeState = "hydrating"
	VolumeWhole     VolumeState = "whole"
)

// Volume is a disk on one host.
type Volume struct {
	Name    string      `json:"name"`
	Host    string      `json:"host"`
	Format  Format      `json:"format"`
	SizeMiB int64       `json:"size_mib"`
	State   VolumeState `json:"state"`
}

// ImageState is where an image is in its life.
//
//	fetching ─▶ inspecting ─┬▶ identified ─▶ modifying ─▶ verifying ─▶ ready
//	                        └▶ ambiguous, unsupported ──────────▲
//
// An import that fails leaves no image; its job says why. Steps that are not asked
// for, or not needed, are passed over.
type ImageState string

// The states of an image.
const (
	ImageFetching    ImageState = "fetching"
	ImageInspecting  ImageState = "inspecting"
	ImageIdentified  ImageState = "identified"  // the system is known
	ImageAmbiguous   ImageState = "ambiguous"   // the evidence contradicts itself: nothing is changed in it
	ImageUnsupported ImageState = "unsupported" // the system is not known: nothing is changed in it
	ImageModifying   ImageState = "modifying"
	ImageVerifying   ImageState = "verifying"
	ImageReady       ImageState = "ready"
)

// Image is a disk that machines are made from. It never changes.
type Image struct {
	Meta
	Format  Format     `json:"format"`
	Size    int64      `json:"size"`   // bytes a guest sees
	Bytes   int64      `json:"bytes"`  // bytes of the file
	SHA256  string     `json:"sha256"` // of the file
	State   ImageState `json:"state"`
	Job     string     `json:"job,omitempty"` // that imports it
	Updated time.Time  `json:"updated,omitzero"`

	Source *ImageSource `json:"source,omitempty"` // nil of images of older versions

	// What the import found out and did. An image that could not be inspected has none of
	// it.
	Firmware Firmware     `json:"firmware,omitempty"` // that machines get that are made from it
	System   *ImageSystem `json:"system,omitempty"`
	Changes  []Change     `json:"changes,omitempty"` // by the repair
	Boot     *BootCheck   `json:"boot,omitempty"`
}

// ImageSource is what an image was made from.
type ImageSource struct {
	Location string `json:"location"`         // address without secrets; of an upload, empty
	Format   string `json:"format"`           // "vmdk", "ova", …
	Member   string `json:"member,omitempty"` // the disk in an archive
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256,omitempty"` // of the whole source; empty: not read yet
}

// Origin is a source of an image that a machine runs from before it is here: the
// server reads parts of it as they are needed.
type Origin struct {
	Name     string      `json:"name"` // made up by the server
	Created  time.Time   `json:"created"`
	Source   ImageSource `json:"source"`
	From     string      `json:"from"`               // format and variant of the disk
	Size     int64       `json:"size"`               // bytes a guest sees
	System   string      `json:"system,omitempty"`   // what is on it, if it was recognised
	Firmware Firmware    `json:"firmware,omitempty"` // that it boots with
	Notes    []string    `json:"notes,omitempty"`
	Fetched  int64       `json:"fetched"`           // bytes of the source that are on the server
	Waits    string      `json:"waits,omitempty"`   // why nothing can be read at the moment
	Ordered  string      `json:"ordered,omitempty"` // SHA-256 that the source must have, checked at the end; empty: any
}

// ImportPlan is what an import would do.
type ImportPlan struct {
	Source    ImageSource    `json:"source"`
	Resumable bool           `json:"resumable"` // a transfer that was cut goes on where it was
	Images    []PlannedImage `json:"images"`
	Notes     []string       `json:"notes,omitempty"`
}

// PlannedImage is an image that an import would make.
type PlannedImage struct {
	Name   string `json:"name"`
	Member string `json:"member,omitempty"` // the disk in an archive
	From   string `json:"from"`             // format and variant of the disk
	Format Format `json:"format"`           // that it will have
	Size   int64  `json:"size"`             // bytes a guest sees

	System   *ImageSystem `json:"system,omitempty"` // nil: it could not be looked at
	Firmware Firmware     `json:"firmware,omitempty"`
	Repair   bool         `json:"repair"` // it would be repaired
	Check    bool         `json:"check"`  // it would be booted before it is published
}

// ImportResult is what an import has made; it is the result of the job. One that
// failed because the image does not boot has made nothing, and tells what was seen.
type ImportResult struct {
	Images  []string   `json:"images"`
	SHA256  string     `json:"sha256"` // of the source
	Notes   []string   `json:"notes,omitempty"`
	Changes []Change   `json:"changes,omitempty"`
	Boot    *BootCheck `json:"boot,omitempty"`
	Log     string     `json:"log,omitempty"` // the end of what the repair said, if the import failed
}
