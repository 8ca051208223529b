package appliance

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/repair"
)

// orderFor makes the order of a request. The notes say what is left out.
func orderFor(r Request, image *format.Image) (o wire.Order, notes []string, err error) {
	if r.Plan.Family == "windows" {
		return o, nil, droveway.Missing("image.repair.windows", "a Windows cannot be repaired yet: import it with --repair none, and let it start with the drivers it has")
	}
	o.Disk, err = diskOf(r.Report, image)
	if err != nil {
		return o, nil, err
	}
	for _, s := range r.Plan.Steps {
		step, left, err := choose(s, r.MACs, r.Full)
		if err != nil {
			return o, nil, err
		}
		notes = append(notes, left...)
		if len(step.Files)+len(step.Run) > 0 {
			o.Steps = append(o.Steps, step)
		}
	}
	return o, notes, nil
}

// choose turns a step of a plan into what is done: where files are enough, they
// alone, unless all is asked for.
func choose(s repair.Step, macs []string, full bool) (step wire.Step, notes []string, err error) {
	step.Name = s.Name
	quick := s.Enough && !full
	if !quick {
		step.Run, step.Keep = s.Run, s.Makes
	}
	for _, f := range s.Files {
		if !quick && len(f.Append) > 0 && len(s.Run) > 0 {
			continue // the program makes it anew
		}
		if !path.IsAbs(f.Path) || strings.HasPrefix(f.From, virtioWin) {
			return step, nil, droveway.Errorf(droveway.Invalid, "step %s: %q is no file of a Linux", s.Name, f.Path)
		}
		text, ok := fillCards(f, macs)
		if !ok {
			notes = append(notes, fmt.Sprintf("%s: %s is left out: the machine has %d network cards, and it is for another one", s.Name, f.Path, len(macs)))
			continue
		}
		f.Old, f.Text = "", text // what it was is known by its hash
		step.Files = append(step.Files, f)
	}
	return step, notes, nil
}

const virtioWin = "virtio-win:"

var card = regexp.MustCompile(`\$\{mac(\d+)\}`)

// fillCards puts addresses of network cards into a file. Lines for cards that there
// are not are left out of rules; any other file is left out as a whole, for it would
// mean something else.
func fillCards(f repair.File, macs []string) (text string, ok bool) {
	var b strings.Builder
	for line := range strings.Lines(f.Text) {
		there := true
		line = card.ReplaceAllStringFunc(line, func(m string) string {
			n, err := strconv.Atoi(card.FindStringSubmatch(m)[1])
			if err != nil || n < 1 || n > len(macs) {
				there = false
				return m
			}
			return strings.ToLower(macs[n-1])
		})
		switch {
		case there:
			b.WriteString(line)
		case !strings.HasSuffix(f.Path, ".rules"):
			return "", false
		}
	}
	return b.String(), f.Text == "" || b.Len() > 0
}

// systemDirectories are where what belongs to the system is mounted. What is
// elsewhere is left alone.
var systemDirectories = []string{"/boot", "/efi", "/etc", "/opt", "/root", "/srv", "/usr", "/var"}

func ofSystem(at string) bool {
	return slices.ContainsFunc(systemDirectories, func(d string) bool { return at == d || strings.HasPrefix(at, d+"/") })
}
