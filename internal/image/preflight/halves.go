package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/inspect"
)

// Twins says of images why they are left as they are: they have members of arrays of MD
// that others of the same import have, too, as the halves of a mirror that came as disks of
// their own. Each half is a whole system, and only one may be repaired: after a repair of
// both they would differ, and each superblock would say that they are in step. It is the
// one with the most events, as the others missed what was written last; of several the
// first. There is one choice for all arrays that two images share, as a system is repaired
// as a whole. Arrays without a part of a system do not count, nor does who has no system.
// The results are those of the images, and nil for what was not looked into.
func Twins(images []string, results []*Result) map[string]Twin {
	var best []int // those with which no better one so far has an array in common
	for i, r := range results {
		lost, beaten := false, []int{}
		for _, k := range best {
			switch v, shared := versus(r, results[k]); {
			case shared && v.wins:
				beaten = append(beaten, k)
			case shared:
				lost = true
			}
		}
		if !lost {
			best = slices.DeleteFunc(best, func(k int) bool { return slices.Contains(beaten, k) })
			best = append(best, i)
		}
	}
	twins := map[string]Twin{}
	for i, r := range results {
		for _, k := range best {
			v, shared := versus(results[k], r)
			if _, known := twins[images[i]]; shared && !known && !slices.Contains(best, i) {
				twins[images[i]] = Twin{Image: images[k], Older: v.Order > 0, Note: twinNote(images[i], images[k], v)}
			}
		}
	}
	return twins
}

// Twin is the better half of what an image has a half of.
type Twin struct {
	Image string `json:"image"`           // that has it
	Older bool   `json:"older,omitempty"` // this half lacks what was written last
	Note  string `json:"note"`            // says so, and what is to be done
}

// verdict is how an image compares with another one.
type verdict struct {
	inspect.Verdict
	wins bool // even if the other one comes before it
}

// versus compares two images; there is no verdict if they share no mirror with parts of a
// system. Who has no system does not win.
func versus(a, b *Result) (v verdict, shared bool) {
	v.Verdict, shared = inspect.Versus(halves(a), halves(b))
	switch {
	case !hasSystem(a):
		v.wins = false
	case !hasSystem(b):
		v.wins = true
	default:
		v.wins = v.Order > 0
	}
	return v, shared
}

func hasSystem(r *Result) bool { return r != nil && r.Report.System.Root != "" }

// halves are what an image has of mirrors, and of stripes of mirrors, which may be there
// in whole, too. Next to a system these are the system's own.
func halves(r *Result) (all []inspect.Membership) {
	if r == nil {
		return nil
	}
	for _, v := range r.Report.Volumes {
		m := v.Member
		if m == nil || m.Level != disk.Mirror && m.Level != disk.Mirrored {
			continue
		}
		if !hasSystem(r) || len(m.Systems()) > 0 {
			all = append(all, *m)
		}
	}
	return inspect.Best(all)
}

// twinNote says why an image is left as it is. The verdict is that of the better one
// against it.
func twinNote(image, best string, v verdict) string {
	why := fmt.Sprintf("both have %d events, and image %s is the first", v.B.Events, best)
	switch {
	case v.A.Current && !v.B.Current:
		why = "it is a spare, or was taken out or not yet filled"
	case v.Order > 0:
		why = fmt.Sprintf("it is the older one, with %d events, and image %s has %d", v.B.Events, best, v.A.Events)
	case v.Order < 0:
		why = "it has no system"
	}
	if len(v.Opposed) > 0 {
		why += fmt.Sprintf(" (of the mirror with %s it has the newer half: what was written there last is in this image alone)", strings.Join(v.Opposed, ", "))
	}
	return fmt.Sprintf("image %s is left as it is: it has the other half of a mirror of image %s, which is the one to be repaired and to boot from: %s; let the guest take this half back (mdadm --manage /dev/mdN --re-add)", image, best, why)
}

// Lacks are the volumes that could not be read, each with the reason: of what spans
// several disks, one disk does not have enough.
func (r *Result) Lacks() (all []string) {
	for _, v := range r.Report.Volumes {
		if v.Problem != "" {
			all = append(all, v.Name+": "+v.Problem)
		}
	}
	return all
}
