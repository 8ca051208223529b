package preflight

import (
	"fmt"

	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

// Halves knows which images have members of one array of MD, by its UUID: the halves of
// a mirror that came as disks of their own. Each is a whole system, and is repaired by
// itself, so only the first of them may be: after a repair of both they would differ, and
// each superblock would say that they are in step.
type Halves map[string]string

// Twin is the image before this one that has a member of the same array; empty: there is
// none, and the image is remembered.
func (h Halves) Twin(image string, r *Result) (twin string) {
	for _, v := range r.Report.Volumes {
		if v.Kind != probe.MD {
			continue
		}
		if first, known := h[v.UUID]; !known {
			h[v.UUID] = image
		} else if first != image {
			twin = first
		}
	}
	return twin
}

// TwinNote says what is to be done with an image that is not repaired for its twin's sake.
func TwinNote(image, twin string) string {
	return fmt.Sprintf("image %s is left as it is: it has the other half of a mirror of image %s, which is repaired and newer then; boot from that, and let the guest take this half back (mdadm --manage /dev/mdN --re-add)", image, twin)
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
