package repair

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/inspect"
)

// startMounts are those without which a system does not start.
var startMounts = []string{"/", "/boot", "/boot/efi", "/efi", "/usr"}

// disks are those without which the system does not start; none if there is one alone.
func (p *planner) disks() (all []int) {
	for _, v := range p.r.Volumes {
		if slices.Contains(startMounts, path.Clean(v.Mount)) {
			all = append(all, v.Needs...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// elsewhere reports whether a volume is on other disks than what the system needs to start.
func (p *planner) elsewhere(volume string) bool {
	i := slices.IndexFunc(p.r.Volumes, func(v inspect.Volume) bool { return v.Name == volume })
	if i < 0 || volume == "" {
		return false
	}
	own := p.disks()
	return slices.ContainsFunc(p.r.Volumes[i].Needs, func(d int) bool { return !slices.Contains(own, d) })
}

// ownMounts are those of fstab, without the volumes of other disks: as each disk is
// repaired by itself, a repair knows no more of them than that they are not there.
func (p *planner) ownMounts() []inspect.Mount {
	own := slices.Clone(p.r.System.Fstab)
	for i := range own {
		m := &own[i]
		if !p.elsewhere(m.Volume) {
			continue
		}
		p.warnNamed(m.Path, m.Spec, m.Volume, "fstab")
		m.Volume = ""
	}
	return own
}

// ownMapped are those of crypttab, likewise.
func (p *planner) ownMapped() (own []inspect.Mapped) {
	for _, m := range p.r.System.Crypttab {
		if p.elsewhere(m.Volume) {
			p.warnNamed(m.Name, m.Spec, m.Volume, "crypttab")
		} else {
			own = append(own, m)
		}
	}
	return own
}

// warnNamed says of a volume of another disk that a file calls it by the name of that.
func (p *planner) warnNamed(what, spec, volume, file string) {
	if id := p.uuid(volume); inspect.DiskName(spec) && id != "" {
		p.find(Warning, what+" is "+spec+" of another disk", "disks have other names here, and each is repaired by itself", "name it UUID="+id+" in "+file+", here or before")
	}
}

// checkDisks says of a system on several disks that nothing is changed in it: each becomes
// an image, and a repair is of one. What it would need is to be done before.
func (p *planner) checkDisks() {
	disks := p.disks()
	if len(disks) < 2 {
		p.checkHalves(disks)
		return
	}
	level, advice := Warning, "give the machine all of them, that which boots first"
	var what []string
	if p.plan.Needed() {
		level = Blocker
		for _, s := range p.plan.Steps {
			what = append(what, s.What)
		}
		advice = "make these changes where it came from, or put it on one disk: " + strings.Join(what, "; ")
	}
	p.plan.Steps = []Step{}
	p.find(level, "the system is on the disks "+numbers(disks)+" together", "each becomes an image of its own, and what needs several is not repaired", advice)
}

// checkHalves says of a system on mirrors which disk an import repairs: that which is
// needed, and no other that has the system, too.
func (p *planner) checkHalves(needed []int) {
	var on []int
	for _, v := range p.r.Volumes {
		if v.Member != nil && v.Member.Level == disk.Mirror && len(v.Member.Systems()) > 0 {
			on = append(on, v.Disks...)
		}
	}
	slices.Sort(on)
	if on = slices.Compact(on); len(needed) == 0 || len(on) < 2 {
		return
	}
	n := numbers(needed)
	p.find(Warning, "the disks "+numbers(on)+" have halves of a mirror with the system", "each becomes an image of its own, and only disk "+n+" is repaired, as its half is the newest, or the first of those", "boot from disk "+n+", and let the guest take the other half back (mdadm --manage /dev/mdN --re-add)")
}

func numbers(of []int) string {
	var all []string
	for _, n := range of {
		all = append(all, fmt.Sprint(n))
	}
	return strings.Join(all, ", ")
}
