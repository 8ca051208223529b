package main

import (
	"fmt"

	"github.com/droveway/droveway/bench/canvas"
)

const width = 980

// picture draws the report: time and CPU of the conversion, time to the login.
func picture(r *report) []byte {
	all := panels(r)
	block := 0.0
	for _, p := range all {
		block = max(block, p.Height())
	}
	deep := (len(all) + 1) / 2
	c := canvas.New(width, 60+int(block)*deep+30)
	c.Text(canvas.Point{X: 24, Y: 34}, canvas.Font{Anchor: "start", Size: 19, Bold: true, Role: canvas.Ink}, "From a disk of another hypervisor to a guest that runs here")
	for i, p := range all {
		p.Draw(c, canvas.Point{X: 24 + float64(i%2)*canvas.PanelWidth, Y: 74 + float64(i/2)*block})
	}
	c.Text(canvas.Point{X: 24, Y: 60 + block*float64(deep) + 12}, canvas.Font{Anchor: "start", Size: 12, Role: canvas.Faint}, footnote(r))
	return c.Done()
}

func footnote(r *report) string {
	return fmt.Sprintf("Medians, and the single runs as dots (%d). %d CPUs, accelerator %s; load of the machine before: %.1f.", r.Rounds, r.CPUs, r.Accelerator, r.LoadBefore)
}

func panels(r *report) (all []canvas.Panel) {
	if len(r.Conversions) > 0 {
		all = append(all,
			r.converted("Repair of a Debian 12: time", "s", func(c conversion) float64 { return c.WallMS / 1000 }),
			r.converted("Repair of a Debian 12: CPU", "s", func(c conversion) float64 { return c.CPUMS / 1000 }),
			r.converted("Repair of a Debian 12: largest process", "MiB", func(c conversion) float64 { return c.PeakMiB }))
	}
	if len(r.Firsts) == 0 {
		return all
	}
	p := canvas.Panel{Title: fmt.Sprintf("Request to login, source of %.1f GiB at %d MiB/s", float64(r.FarBytes)/(1<<30), r.Rate>>20), Unit: "s"}
	for _, way := range []string{waySwitchFirst, wayImportFirst} {
		k := canvas.Row{Name: way, Role: roleOf(way), Value: r.median(way, login)}
		for _, f := range r.Firsts {
			if f.Way == way {
				k.Runs = append(k.Runs, f.Login)
			}
		}
		p.Rows = append(p.Rows, k)
	}
	return append(all, p)
}

func (r *report) converted(title, unit string, of func(conversion) float64) canvas.Panel {
	p := canvas.Panel{Title: title, Unit: unit}
	for _, way := range []string{wayChecked, wayRepaired, wayV2V} {
		took, measured := r.took(way)
		if !measured {
			continue
		}
		k := canvas.Row{Name: way, Role: roleOf(way), Value: of(conversion{Cost: took})}
		for _, c := range r.Conversions {
			if c.Way == way {
				k.Runs = append(k.Runs, of(c))
			}
		}
		p.Rows = append(p.Rows, k)
	}
	return p
}

func roleOf(way string) canvas.Role {
	switch way {
	case wayV2V:
		return canvas.Peer
	case wayImportFirst:
		return canvas.Plain
	}
	return canvas.Ours
}
