// Package preflight tells of a disk what it holds, how it boots and what a repair
// would change, in the words of the API: the same for a file that is still with its
// user, a source that the server reads from afar, and an image that has arrived.
//
// It reads the disk it is given through package inspect, and touches nothing else.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/repair"
	"github.com/droveway/droveway/internal/image/survey"
)

// Wishes are what is to be done with a disk. The zero value is what is done unless
// somebody asks for something else.
type Wishes struct {
	Repair    droveway.Repair
	Check     droveway.Check
	Addresses droveway.Addresses
	Rebuild   droveway.Rebuild
	Keys      []luks.Key // for encrypted volumes
	OneOfMany bool       // the disk is one of several, so that a key may be for another one

	VirtioWin *repair.VirtioWin // drivers for a Windows; nil: there are none
	Promised  bool              // there will be some, which cannot be looked at yet
}

// Validate checks the words, and that they do not contradict each other.
func (w Wishes) Validate() error {
	for _, word := range []interface{ Validate() error }{w.Repair, w.Check, w.Addresses, w.Rebuild} {
		if err := word.Validate(); err != nil {
			return err
		}
	}
	if w.Repair != droveway.RepairNone {
		return nil
	}
	if w.Promised || w.VirtioWin != nil {
		return droveway.Errorf(droveway.Invalid, "the drivers of --virtio-win are put in place by a repair: leave out --repair none")
	}
	if w.Addresses == droveway.AddressesDHCP || w.Full() {
		return droveway.Errorf(droveway.Invalid, "--addresses %s and --rebuild %s are done by a repair: leave out --repair none", droveway.AddressesDHCP, droveway.RebuildGuest)
	}
	return nil
}

// Full reports whether the guest's own programs run even where files are enough.
func (w Wishes) Full() bool { return w.Rebuild == droveway.RebuildGuest }

// Options are those of the plan.
func (w Wishes) Options() repair.Options {
	return repair.Options{DHCP: w.Addresses == droveway.AddressesDHCP, VirtioWin: w.VirtioWin, Promised: w.Promised}
}

// Drivers opens the disc of drivers for Windows in a file, until done is called.
func Drivers(path string) (v *repair.VirtioWin, done func(), err error) {
	i, err := format.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if v, err = repair.OpenVirtioWin(i, i.Size); err != nil {
		i.Close()
		return nil, nil, err
	}
	return v, func() { i.Close() }, nil
}

// Result is what was found out.
type Result struct {
	Report *inspect.Report
	Plan   *repair.Plan
	full   bool // the guest's own programs run
}

// Disk looks at a disk.
func Disk(ctx context.Context, i *format.Image, w Wishes) (*Result, error) {
	known, err := identify.Default()
	if err != nil {
		return nil, err
	}
	r := Result{full: w.Full()}
	r.Report, err = inspect.Disk(ctx, i, inspect.Options{Catalog: known, Keys: w.Keys, OneOfMany: w.OneOfMany, Then: func(report *inspect.Report, t *filesystem.Tree) (err error) {
		r.Plan, err = repair.MakeWith(report, t, w.Options())
		return err
	}})
	return &r, err
}

// File looks at the disk in a file that has no files beside it that are its.
func File(ctx context.Context, path string, w Wishes) (*Result, error) {
	i, err := format.Open(path)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	return Disk(ctx, i, w)
}

// System gives it in the words of the API.
func (r *Result) System() *droveway.ImageSystem {
	o := &r.Report.OS
	s := &droveway.ImageSystem{
		Status: droveway.ImageState(o.Status), ID: o.ID, Name: o.Name, Version: o.Version, Family: r.Plan.Family,
		Blocked: r.Plan.Blocked(), Needed: r.Plan.Needed(),
	}
	for _, f := range r.Report.System.Firmware {
		s.Firmware = append(s.Firmware, droveway.Firmware(f))
	}
	for _, f := range r.Plan.Findings {
		s.Findings = append(s.Findings, droveway.ImageFinding{Level: string(f.Level), What: f.What, Why: f.Why, Advice: f.Advice})
	}
	for _, t := range r.Plan.Steps {
		c := droveway.PlannedChange{Step: t.Name, What: t.What, Why: t.Why}
		for _, f := range t.Files {
			c.Files = append(c.Files, f.Path)
		}
		for _, p := range t.Programs(r.full) {
			c.Runs = append(c.Runs, strings.Join(p, " "))
		}
		s.Steps = append(s.Steps, c)
	}
	return s
}

// Firmware is what machines get that are made from the disk: BIOS, if it boots with
// both, as every host has it. Empty: nothing boots from it.
func Firmware(s *droveway.ImageSystem) droveway.Firmware {
	var only droveway.Firmware
	for _, f := range s.Firmware {
		if f == droveway.BIOS {
			return f
		}
		only = f
	}
	return only
}

// Repairs reports whether an import repairs the disk, if it can.
func Repairs(how droveway.Repair, s *droveway.ImageSystem) bool {
	if s == nil || how == droveway.RepairNone || s.Status != droveway.ImageIdentified || len(s.Steps) == 0 {
		return false
	}
	return how == droveway.RepairForce || s.Needed && !s.Blocked
}

// Checks reports whether an import boots the disk, if it can.
func Checks(how droveway.Check, s *droveway.ImageSystem, repaired bool) bool {
	switch {
	case how == droveway.CheckNone || s == nil || len(s.Firmware) == 0:
		return false
	case how == droveway.CheckBoot:
		return true
	}
	return repaired
}

// Foresee adds to a plan for the disks that are chosen of a source what they hold,
// what a repair would change in them, and what an import would do. A disk that cannot
// be looked at is no reason to refuse it.
func Foresee(ctx context.Context, s *survey.Source, p *droveway.ImportPlan, choice string, w Wishes) error {
	disks, err := s.Pick(choice)
	if err != nil {
		return err
	}
	w.OneOfMany = len(disks) > 1
	all, names := make([]*Result, len(disks)), make([]string, len(disks))
	for k, d := range disks {
		disk, err := s.Read(d)
		if err != nil {
			return err
		}
		names[k] = p.Images[k].Name
		res, err := Disk(ctx, disk, w)
		if err != nil {
			p.Notes = append(p.Notes, fmt.Sprintf("image %s cannot be looked into: %v", names[k], err))
			continue
		}
		all[k] = res
	}
	foretell(p, w, all, Twins(names, all))
	if slices.Contains(all, nil) {
		return nil // a key may be for what could not be looked into
	}
	return UnusedKeys(w, all)
}

// foretell adds to a plan what was found out of its images.
func foretell(p *droveway.ImportPlan, w Wishes, all []*Result, twins map[string]Twin) {
	for k, res := range all {
		if res == nil {
			continue
		}
		i := &p.Images[k]
		i.System = res.System()
		i.Firmware = Firmware(i.System)
		i.Repair = Repairs(w.Repair, i.System)
		if twin, has := twins[i.Name]; has && (i.Repair || twin.Older) {
			i.Repair = false
			p.Notes = append(p.Notes, twin.Note)
		}
		i.Check = Checks(w.Check, i.System, i.Repair)
	}
}

// UnusedKeys fails if a key was given that opened nothing on any of the disks of a source.
func UnusedKeys(w Wishes, all []*Result) error {
	reports := make([]*inspect.Report, 0, len(all))
	for _, r := range all {
		var report *inspect.Report
		if r != nil {
			report = r.Report
		}
		reports = append(reports, report)
	}
	return inspect.UnusedKeys(w.Keys, reports...)
}
