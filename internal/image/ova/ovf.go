package ova

import (
	"bytes"
	"encoding/xml"
	"io"
	"math/bits"
	"regexp"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
)

// maxDisks is how many disks one machine is believed to have.
const maxDisks = 64

// envelope is what we need of an OVF, from DMTF DSP0243. Names are matched
// without their namespace: exporters disagree on it.
type envelope struct {
	XMLName xml.Name `xml:"Envelope"`
	Files   []struct {
		ID          string `xml:"id,attr"`
		Href        string `xml:"href,attr"`
		Compression string `xml:"compression,attr"`
		ChunkSize   string `xml:"chunkSize,attr"`
	} `xml:"References>File"`
	Disks []struct {
		ID       string `xml:"diskId,attr"`
		File     string `xml:"fileRef,attr"`
		Capacity string `xml:"capacity,attr"`
		Units    string `xml:"capacityAllocationUnits,attr"`
		Parent   string `xml:"parentRef,attr"`
	} `xml:"DiskSection>Disk"`
	content
}

// content is the machines of an envelope, or of a collection in it.
type content struct {
	Machines    []machine `xml:"VirtualSystem"`
	Collections []content `xml:"VirtualSystemCollection"`
}

// machine is a virtual system: its disks are named as ovf:/disk/ID.
type machine struct {
	ID        string   `xml:"id,attr"`
	Resources []string `xml:"VirtualHardwareSection>Item>HostResource"`
	Storage   []string `xml:"VirtualHardwareSection>StorageItem>HostResource"` // OVF 2
}

// owners says which machine has a disk, by the disk's identifier. Of several the first
// counts.
func (c *content) owners(into map[string]string) {
	for _, m := range c.Machines {
		for _, r := range append(m.Resources, m.Storage...) {
			_, disk, ok := strings.Cut(strings.TrimSpace(r), "/disk/")
			if _, known := into[disk]; ok && !known {
				into[disk] = m.ID
			}
		}
	}
	for i := range c.Collections {
		c.Collections[i].owners(into)
	}
}

// listed is a disk as an OVF names it.
type listed struct {
	id, file string
	machine  string // that has it; empty: none says so
	capacity int64  // bytes
}

// parseOVF reads which disks an OVF names; one without a file is blank, and left
// out.
func parseOVF(text []byte) ([]listed, error) {
	var e envelope
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // names are ASCII in practice
	if err := d.Decode(&e); err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "ovf: %w: the description is damaged", err)
	}
	if len(e.Disks) > maxDisks {
		return nil, droveway.Errorf(droveway.Invalid, "ovf: %d disks: at most %d are believed", len(e.Disks), maxDisks)
	}
	var disks []listed
	machines := map[string]string{}
	e.owners(machines)
	for _, k := range e.Disks {
		if k.Parent != "" {
			return nil, droveway.Errorf(droveway.Invalid, "ovf: disk %q is a snapshot on disk %q: consolidate the snapshots and export again", k.ID, k.Parent)
		}
		if k.File == "" {
			continue
		}
		file, err := e.file(k.ID, k.File)
		if err != nil {
			return nil, err
		}
		size, err := capacity(k.Capacity, k.Units)
		if err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "ovf: disk %q: %w", k.ID, err)
		}
		disks = append(disks, listed{k.ID, file, machines[k.ID], size})
	}
	return disks, nil
}

// file gives the file of a disk by its reference.
func (e *envelope) file(disk, ref string) (string, error) {
	for _, f := range e.Files {
		switch {
		case f.ID != ref:
			continue
		case f.Compression != "" && f.Compression != "identity":
			return "", droveway.Missing("ovf-compression", "ovf: file %q is compressed by %s: unpack it and make the archive anew", f.Href, f.Compression)
		case f.ChunkSize != "":
			return "", droveway.Missing("ovf-chunks", "ovf: file %q is cut into chunks: export again without that", f.Href)
		case !plain(f.Href) || strings.Contains(f.Href, ":"):
			return "", droveway.Errorf(droveway.Invalid, "ovf: disk %q is at %q: only files of the archive are allowed", disk, f.Href)
		}
		return f.Href, nil
	}
	return "", droveway.Errorf(droveway.Invalid, "ovf: disk %q refers to the file %q, which is not listed", disk, ref)
}

// units is a programmatic unit, from DMTF DSP0004, annex C.
var units = regexp.MustCompile(`^byte(?:\s*\*\s*(2|10)\s*\^\s*(\d{1,2}))?$`)

// older is the spelling of OVF 0.9.
var older = map[string]uint{"KiloBytes": 10, "MegaBytes": 20, "GigaBytes": 30, "TeraBytes": 40}

// capacity gives bytes, 0 if nothing is said.
func capacity(number, unit string) (int64, error) {
	if number == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, droveway.Errorf(droveway.Invalid, "a capacity of %q is no number of bytes", number)
	}
	one, err := unitBytes(strings.TrimSpace(unit))
	if err != nil {
		return 0, err
	}
	if high, low := bits.Mul64(n, one); high == 0 && low < 1<<63 {
		return int64(low), nil
	}
	return 0, droveway.Errorf(droveway.Invalid, "a capacity of %s times %d bytes: no disk has that", number, one)
}

func unitBytes(unit string) (uint64, error) {
	if unit == "" || unit == "byte" {
		return 1, nil
	}
	if shift, ok := older[unit]; ok {
		return 1 << shift, nil
	}
	m := units.FindStringSubmatch(unit)
	if m == nil {
		return 0, droveway.Errorf(droveway.Invalid, "a capacity in %q: the unit is not known", unit)
	}
	power, _ := strconv.Atoi(m[2]) // two digits
	base, one := uint64(10), uint64(1)
	if m[1] == "2" {
		base = 2
	}
	for range power {
		high, low := bits.Mul64(one, base)
		if high != 0 {
			return 0, droveway.Errorf(droveway.Invalid, "a capacity in %q: the unit is too large", unit)
		}
		one = low
	}
	return one, nil
}
