package ova

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway"
)

// Disk is a disk of an OVA.
type Disk struct {
	Member
	ID       string // in the OVF; empty without one
	Machine  string // that has it, as the OVF calls it; empty: it does not say
	Capacity int64  // bytes, as the OVF says; 0: it does not
}

// findDisks takes the disks that the OVF names or, if there is none that names
// any, what looks like a disk by its name.
func (a *Archive) findDisks() error {
	name, text, err := a.text(".ovf")
	if err != nil {
		return err
	}
	if name == "" {
		a.guessDisks()
		return nil
	}
	a.OVF = true
	listed, err := parseOVF(text)
	if err != nil {
		return err
	}
	if len(listed) == 0 {
		a.guessDisks()
	}
	for _, d := range listed {
		m, ok := a.named(d.file)
		if !ok {
			return droveway.Errorf(droveway.Invalid, "ova: disk %q is in the file %q, which is not in the archive", d.id, d.file)
		}
		if !slices.ContainsFunc(a.Disks, func(have Disk) bool { return have.Name == m.Name }) {
			a.Disks = append(a.Disks, Disk{Member: m, ID: d.id, Machine: d.machine, Capacity: d.capacity})
		}
	}
	return nil
}

// named finds the member that a reference of the OVF means, which is a URI: a space in a
// name is %20 there, or stands as it is.
func (a *Archive) named(href string) (Member, bool) {
	m, ok := a.Find(path.Clean(href))
	if plainly, err := url.PathUnescape(href); !ok && err == nil {
		return a.Find(path.Clean(plainly))
	}
	return m, ok
}

func (a *Archive) guessDisks() {
	for _, m := range a.Members {
		switch strings.ToLower(path.Ext(m.Name)) {
		case ".vmdk", ".vhd", ".vhdx", ".qcow2", ".img", ".raw":
			a.Disks = append(a.Disks, Disk{Member: m})
		}
	}
}

// Drop leaves out disks that turn out to be parts of another one.
func (a *Archive) Drop(names []string) {
	a.Disks = slices.DeleteFunc(a.Disks, func(d Disk) bool { return slices.Contains(names, d.Name) })
}
