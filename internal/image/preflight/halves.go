package preflight

import (
	"fmt"

	"github.com/droveway/droveway/internal/image/inspect"
)

// Twins says of images why they are left as they are: they have members of an array of MD
// that others of the same import have, too, as the halves of a mirror that came as disks of
// their own. Each half is a whole system, and only one may be repaired: after a repair of
// both they would differ, and each superblock would say that they are in step. It is the
// half with the most events, as the others missed what was written last; of several the
// first. The results are those of the images, and nil for what was not looked into.
func Twins(images []string, results []*Result) map[string]Twin {
	newest := map[string]half{} // by the array
	for i, r := range results {
		for _, h := range halves(images[i], r) {
			if best, known := newest[h.array]; !known || h.newer(best.Membership) {
				newest[h.array] = h
			}
		}
	}
	twins := map[string]Twin{}
	for i, r := range results {
		for _, h := range halves(images[i], r) {
			best := newest[h.array]
			t := Twin{Image: best.image, Older: best.newer(h.Membership), Note: twinNote(h, best)}
			if best.image != h.image && (t.Older || twins[h.image].Image == "") {
				twins[h.image] = t
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

// half is a member of an array on the disk of an image.
type half struct {
	image, array string
	inspect.Membership
}

func halves(image string, r *Result) (all []half) {
	if r == nil {
		return nil
	}
	for _, v := range r.Report.Volumes {
		if v.Member != nil {
			all = append(all, half{image, v.Member.Array, *v.Member})
		}
	}
	return all
}

// newer reports whether a member has what another one lacks.
func (h *half) newer(than inspect.Membership) bool {
	if h.Current != than.Current {
		return h.Current
	}
	return h.Events > than.Events
}

func twinNote(h, best half) string {
	why := fmt.Sprintf("both have %d events, and image %s is the first", h.Events, best.image)
	switch {
	case best.Current && !h.Current:
		why = "it is a spare, or was taken out or not yet filled"
	case best.newer(h.Membership):
		why = fmt.Sprintf("it is the older one, with %d events, and image %s has %d", h.Events, best.image, best.Events)
	}
	return fmt.Sprintf("image %s is left as it is: it has the other half of a mirror of image %s, which is the one to be repaired and to boot from: %s; let the guest take this half back (mdadm --manage /dev/mdN --re-add)", h.image, best.image, why)
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
