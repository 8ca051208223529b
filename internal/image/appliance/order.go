package appliance

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/repair"
)

// orderFor makes the order of a request. The notes say what is left out.
func orderFor(ctx context.Context, r Request, image *format.Image) (o wire.Order, notes []string, err error) {
	o.Disk, err = diskOf(ctx, r, image)
	if err != nil {
		return o, nil, err
	}
	if r.Plan.Family == "windows" {
		o.Steps, err = windowsSteps(r.Plan, r.Drivers)
		return o, nil, err
	}
	if o.Disk.Mounts[0].Kind == ntfs {
		return o, nil, droveway.Errorf(droveway.Unsupported, "a %s on NTFS cannot be changed", r.Plan.Family)
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
		if !path.IsAbs(f.Path) || strings.HasPrefix(f.From, repair.FromVirtioWin) {
			return step, nil, droveway.Errorf(droveway.Invalid, "step %s: %q is no file of a Linux", s.Name, f.Path)
		}
		text, ok := fillCards(f, macs)
		if !ok {
			notes = append(notes, fmt.Sprintf("%s: %s is left out: a machine cannot have so many network cards", s.Name, f.Path))
			continue
		}
		f.Old, f.Text = "", text // what it was is known by its hash
		step.Files = append(step.Files, f)
	}
	return step, notes, nil
}

// card is how a file of a plan names a network card by its address: as systemd.link(5)
// and as rules of udev do.
var card = regexp.MustCompile(`MACAddress=\$\{mac(\d+)\}|ATTR\{address\}=="\$\{mac(\d+)\}"|\$\{mac(\d+)\}`)

// fillCards puts addresses of network cards into a file. Where a card's address is not
// known, as it is not before there is a machine, its place on the bus says the same:
// machines have each card in a place of its own. What says it in neither way is left
// out: of rules the line, of any other file all, for the rest would mean something else.
func fillCards(f repair.File, macs []string) (text string, ok bool) {
	var b strings.Builder
	for line := range strings.Lines(f.Text) {
		there := true
		line = card.ReplaceAllStringFunc(line, func(m string) string {
			named, ok := nameCard(m, macs)
			there = there && ok
			return named
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

// nameCard names one card, by its address or else by its place.
func nameCard(as string, macs []string) (string, bool) {
	g := card.FindStringSubmatch(as)
	n, err := strconv.Atoi(g[1] + g[2] + g[3])
	if err != nil || n < 1 {
		return "", false
	}
	if n <= len(macs) {
		return strings.ReplaceAll(as, fmt.Sprintf("${mac%d}", n), strings.ToLower(macs[n-1])), true
	}
	place, ok := qemu.CardAddress(n - 1)
	switch {
	case g[1] != "":
		return "Path=*pci-" + place, ok
	case g[2] != "":
		return `KERNELS=="` + place + `"`, ok
	}
	return "", false
}

// systemDirectories are where what belongs to the system is mounted. What is
// elsewhere is left alone.
var systemDirectories = []string{"/boot", "/efi", "/etc", "/opt", "/root", "/srv", "/usr", "/var"}

func ofSystem(at string) bool {
	return slices.ContainsFunc(systemDirectories, func(d string) bool { return at == d || strings.HasPrefix(at, d+"/") })
}
