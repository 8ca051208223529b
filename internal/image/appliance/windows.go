package appliance

import (
	"path"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/repair"
)

// maxDrivers is how much is taken from a disc of drivers, in bytes.
const maxDrivers = 64 << 20

// hiveFolder is where a Windows has its hives. The appliance finds it in any case.
const hiveFolder = "/Windows/System32/config"

// refuseWindows refuses what must not be changed, though its file system might allow it:
// whoever asked may not have read the plan.
func refuseWindows(p *repair.Plan) error {
	var why []string
	for _, f := range p.Findings {
		if f.Level == repair.Blocker {
			why = append(why, f.What+": "+f.Why+": "+f.Advice)
		}
	}
	if len(why) > 0 {
		return droveway.Errorf(droveway.Conflict, "this Windows cannot be repaired: %s", strings.Join(why, "; "))
	}
	return nil
}

// windowsSteps turns a plan for a Windows into what is done, with the drivers in it.
func windowsSteps(p *repair.Plan, disc *repair.VirtioWin) ([]wire.Step, error) {
	if err := refuseWindows(p); err != nil {
		return nil, err
	}
	var steps []wire.Step
	room := maxDrivers
	for _, s := range p.Steps {
		step := wire.Step{Name: s.Name}
		for _, f := range s.Files {
			b, err := fromDisc(f, disc)
			if err != nil {
				return nil, droveway.Errorf(droveway.KindOf(err), "step %s: %w", s.Name, err)
			}
			if room -= len(b); room < 0 {
				return nil, droveway.Errorf(droveway.Invalid, "step %s: the drivers have more than %d MiB: this is no disc of the project virtio-win", s.Name, maxDrivers>>20)
			}
			step.Files = append(step.Files, repair.File{Path: f.Path, Data: b})
		}
		step.Hives = hives(s)
		steps = append(steps, step)
	}
	return steps, nil
}

// fromDisc reads what a plan takes from the disc of drivers: in a Windows, nothing else
// is written.
func fromDisc(f repair.File, disc *repair.VirtioWin) ([]byte, error) {
	switch {
	case !path.IsAbs(f.Path) || !strings.HasPrefix(f.From, repair.FromVirtioWin):
		return nil, droveway.Errorf(droveway.Invalid, "%q is nothing that is written in a Windows", f.Path)
	case disc == nil:
		return nil, droveway.Errorf(droveway.Invalid, "%s comes from a disc of drivers: name one with --virtio-win", f.Path)
	}
	return disc.Read(f.From)
}

// hives are what a step sets in the registry.
func hives(s repair.Step) (all []wire.Hive) {
	for _, h := range []struct {
		name    string
		entries []repair.Entry
	}{{"SYSTEM", s.Registry}, {"SOFTWARE", s.Software}} {
		if len(h.entries) == 0 {
			continue
		}
		hive := wire.Hive{Path: path.Join(hiveFolder, h.name)}
		for _, e := range h.entries {
			kind, data := e.Value.Raw()
			hive.Set = append(hive.Set, wire.Value{Key: e.Key, Name: e.Name, Type: kind, Data: data})
		}
		all = append(all, hive)
	}
	return all
}
