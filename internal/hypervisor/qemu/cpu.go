package qemu

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/qmp"
)

// askCPU lists the features that guests can see.
func (p *platform) askCPU(ctx context.Context, c *qmp.Client) error {
	p.found["cpu-vendor"] = p.vendor()
	on, err := expand(ctx, c, p.cpu)
	if qmp.Refused(err) {
		p.found["cpu.flags"] = "unknown: " + err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range on {
		if !p.hides(name) {
			p.found[droveway.CPUFlag(strings.ToLower(name))] = "yes"
		}
	}
	return nil
}

// vendor is the CPU's maker as guests see it. A guest's kernel chooses by it how to
// work, so a guest does not move between makers.
func (p *platform) vendor() string {
	if p.accel == tcg {
		return tcg // QEMU's own CPU, the same on all hosts
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "vendor_id" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// expand gives the features of a CPU model.
func expand(ctx context.Context, c *qmp.Client, model string) (on []string, err error) {
	var r struct {
		Model struct{ Props map[string]any }
	}
	err = c.Execute(ctx, "query-cpu-model-expansion", object{"type": "full", "model": object{"name": model}}, &r)
	for name, value := range r.Model.Props {
		if yes, ok := value.(bool); ok && yes {
			on = append(on, name)
		}
	}
	return on, err
}

// askModels finds out which models a guest can have here. Their versions, as in
// Haswell-v2, are left out: the names stand for those of the machine type.
func (p *platform) askModels(ctx context.Context, c *qmp.Client) error {
	var all []struct {
		Name  string
		Safe  bool     `json:"migration-safe"`
		Alias string   `json:"alias-of"`
		Lacks []string `json:"unavailable-features"`
	}
	if err := c.Execute(ctx, "query-cpu-definitions", nil, &all); err != nil && !qmp.Refused(err) {
		return err
	}
	for _, m := range all {
		if !m.Safe || m.Alias == "" {
			continue
		}
		hidden, err := p.hiddenOf(ctx, c, m.Name)
		if err != nil {
			return err
		}
		lacks := slices.Compact(append(m.Lacks, hidden...))
		p.found[droveway.CPUModel(m.Name)] = "yes"
		if len(lacks) > 0 {
			p.found[droveway.CPUModel(m.Name)] = "no: lacks " + strings.Join(lacks, ", ")
		}
	}
	return nil
}

// hiddenOf gives the features of a model that no guest is to have here.
func (p *platform) hiddenOf(ctx context.Context, c *qmp.Client, model string) ([]string, error) {
	if len(p.hidden) == 0 {
		return nil, nil
	}
	on, err := expand(ctx, c, model)
	if qmp.Refused(err) {
		return nil, nil
	}
	return slices.DeleteFunc(on, func(name string) bool { return !slices.Contains(p.hidden, name) }), err
}

// hides reports whether a feature, under any of its names, is hidden.
func (p *platform) hides(name string) bool {
	return slices.Contains(p.hidden, strings.NewReplacer(".", "-", "_", "-").Replace(strings.ToLower(name)))
}

// levelModel is what the levels of the psABI are built on. It is of no maker's
// CPU, and KVM gives it everywhere.
const levelModel = "qemu64"

// cpuArgument is QEMU's -cpu. Anything but the host's own CPU is exactly as asked
// for, or QEMU does not start: a guest must not lose a flag from one start to the
// next, or on a move.
func (p *platform) cpuArgument(c droveway.CPU) string {
	if c.OfHost() {
		arg := p.cpu
		for _, flag := range p.hidden {
			arg += "," + flag + "=off"
		}
		return arg
	}
	model, flags := c.Split()
	if level, ok := droveway.Level(model); ok {
		model, flags = levelModel, append(level, flags...)
	}
	for _, flag := range flags {
		model += "," + flag + "=on"
	}
	return model + ",enforce"
}

// gives refuses a CPU that this host cannot give, and names what is missing.
func (p *platform) gives(c droveway.CPU) error {
	var lacks []string
	for _, need := range c.Requires() {
		if p.found[need] != "yes" {
			lacks = append(lacks, need)
		}
	}
	if len(lacks) == 0 || p.found["cpu.flags"] != "" { // unknown: QEMU itself tells
		return nil
	}
	return droveway.Missing(lacks[0], "this host cannot give the CPU %s: it lacks %s", c, strings.Join(lacks, ", "))
}
