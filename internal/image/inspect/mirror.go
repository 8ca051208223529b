package inspect

import (
	"cmp"
	"path"
	"slices"

	"github.com/droveway/droveway/internal/image/disk"
)

// Membership is what a member of an array of MD says of itself.
type Membership struct {
	Array   string // UUID
	Level   int
	Current bool     // it has data: it is no spare, nor taken out, nor being filled
	Events  uint64   // how often the array had changed when it was written last
	Mounts  []string // what the guest has of the array, whole or in part
}

// systemMounts are where a system is: who has a half of one of these has a half of it.
var systemMounts = []string{"/", "/boot", "/usr"}

// Systems are the mount points of a system that the array has.
func (m *Membership) Systems() (all []string) {
	for _, at := range m.Mounts {
		if slices.Contains(systemMounts, at) {
			all = append(all, at)
		}
	}
	return all
}

// compare is above 0 if a member has what another one of its array lacks.
func (m *Membership) compare(o *Membership) int {
	switch {
	case m.Current && !o.Current:
		return 1
	case o.Current && !m.Current:
		return -1
	}
	return cmp.Compare(m.Events, o.Events)
}

// Verdict is how what two disks have of the same mirrors compares.
type Verdict struct {
	Order   int        // above 0: the first disk has what the second lacks; 0: both have the same
	A, B    Membership // of the mirror that decided, of each disk
	Opposed []string   // what is mounted from mirrors of which it is the other way round
}

// Versus compares what two disks have of mirrors with parts of a system; there is no
// verdict if they share none. All of a system is of one disk, so that there is one
// verdict for all of their mirrors: that of the root, or else of the first of which the
// halves differ.
func Versus(a, b []Membership) (v Verdict, shared bool) {
	var all []Verdict
	for _, x := range a {
		for _, y := range b {
			if x.Array != y.Array || len(x.Systems())+len(y.Systems()) == 0 {
				continue
			}
			n := Verdict{Order: x.compare(&y), A: x, B: y}
			all = append(all, n)
			if better := n.weight() - v.weight(); !shared || better > 0 {
				v, shared = n, true
			}
		}
	}
	for _, n := range all {
		if n.Order*v.Order < 0 {
			v.Opposed = append(v.Opposed, n.systems()...)
		}
	}
	return v, shared
}

// weight is how much a verdict counts beside those of other mirrors.
func (v *Verdict) weight() int {
	switch {
	case v.Order == 0:
		return 0
	case slices.Contains(v.systems(), "/"):
		return 2
	}
	return 1
}

func (v *Verdict) systems() []string {
	all := append(v.A.Systems(), v.B.Systems()...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Best leaves of several members of one array the best.
func Best(members []Membership) (best []Membership) {
	for _, m := range members {
		i := slices.IndexFunc(best, func(o Membership) bool { return o.Array == m.Array })
		switch {
		case i < 0:
			best = append(best, m)
		case m.compare(&best[i]) > 0:
			best[i] = m
		}
	}
	return best
}

// carry notes of each member what the guest has of its array.
func (s *inspection) carry() {
	mounts := map[string][]string{}
	for _, v := range s.volumes {
		if v.Mount == "" {
			continue
		}
		for _, o := range s.under(v) {
			if o.array != "" {
				mounts[o.array] = append(mounts[o.array], v.Mount)
			}
		}
	}
	for _, v := range s.volumes {
		if v.Member != nil {
			v.Member.Mounts = mounts[v.Member.Array]
		}
	}
}

// under are a volume and all that it is made of.
func (s *inspection) under(v *volume) []*volume {
	all := []*volume{v}
	for i := 0; i < len(all); i++ { // all grows
		for _, o := range s.volumes {
			if slices.Contains(all[i].parts, o.Name) && !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	return all
}

// halve finds the disk that a system on mirrors is taken from, as each half is a whole
// system, and an import repairs the one with what was written last: and then, of each
// volume, the disks that are needed for it. It is called again when more is known of what
// is mounted.
func (s *inspection) halve() {
	s.carry()
	if len(s.drives) < 2 {
		return
	}
	s.half = s.systemDisk()
	for _, v := range s.volumes {
		if v.mirror {
			v.half = s.halfOf(v.array)
		}
	}
	for _, v := range s.volumes {
		v.Needs = s.needed(v)
	}
}

// foresee halves a system by all mirrors that fstab mounts, before anything is: what is on
// no mirror is then taken of the same disk.
func (s *inspection) foresee() {
	if len(s.drives) < 2 || !s.mirrored() {
		return
	}
	var ahead []*volume
	for _, m := range s.report.System.Fstab {
		if v := s.bySpec(m.Spec); v != nil && v.drive == nil && v.Mount == "" {
			v.Mount = path.Clean(m.Path)
			ahead = append(ahead, v)
		}
	}
	s.halve()
	s.order = nil // it was that of the half so far
	for _, v := range ahead {
		v.Mount = ""
	}
}

// systemDisk is the disk that the system is taken from; 0: there is none, or it needs
// several. It is that of a root on no mirror, or else of those with a half of the root's
// mirror the one that is best.
func (s *inspection) systemDisk() int {
	i := slices.IndexFunc(s.volumes, func(v *volume) bool { return v.Mount == "/" })
	if i < 0 {
		return 0
	}
	under := s.under(s.volumes[i])
	m := slices.IndexFunc(under, func(v *volume) bool { return v.mirror })
	if m < 0 {
		if on := s.volumes[i].Disks; len(on) == 1 {
			return on[0]
		}
		return 0
	}
	best := 0
	for _, d := range s.drives {
		if !s.has(d.number, under[m].array) {
			continue
		}
		if best == 0 {
			best = d.number
		} else if v, _ := Versus(s.members(d.number), s.members(best)); v.Order > 0 {
			best = d.number
		}
	}
	return best
}

// halfOf is the disk that a mirror is taken from: that of the system, if it has a half,
// or else the one with the best.
func (s *inspection) halfOf(array string) int {
	if s.has(s.half, array) {
		return s.half
	}
	var best *volume
	for _, v := range s.volumes {
		if m := v.Member; m != nil && v.drive != nil && m.Array == array && (best == nil || m.compare(best.Member) > 0) {
			best = v
		}
	}
	if best == nil {
		return 0
	}
	return best.drive.number
}

// has reports whether a disk has data of an array.
func (s *inspection) has(number int, array string) bool {
	return slices.ContainsFunc(s.members(number), func(m Membership) bool { return m.Array == array && m.Current })
}

// members are those of mirrors on a disk.
func (s *inspection) members(number int) []Membership {
	var all []Membership
	for _, v := range s.volumes {
		if v.Member != nil && v.Member.Level == disk.Mirror && v.drive != nil && v.drive.number == number {
			all = append(all, *v.Member)
		}
	}
	return Best(all)
}

// needed are the disks without which a volume cannot be read: of a mirror the one that it
// is taken from.
func (s *inspection) needed(v *volume) (disks []int) {
	all := []*volume{v}
	for i := 0; i < len(all); i++ { // all grows
		switch o := all[i]; {
		case o.drive != nil:
			disks = append(disks, o.drive.number)
		case o.half > 0:
			disks = append(disks, o.half)
		default:
			for _, part := range s.volumes {
				if slices.Contains(o.parts, part.Name) && !slices.Contains(all, part) {
					all = append(all, part)
				}
			}
		}
	}
	slices.Sort(disks)
	return slices.Compact(disks)
}
