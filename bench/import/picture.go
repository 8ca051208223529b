package main

import (
	"fmt"

	"github.com/droveway/droveway/bench/canvas"
)

// row is a bar of a panel.
type row struct {
	name  string
	role  canvas.Role
	value float64
	runs  []float64
}

// panel is one question, and what each way gave.
type panel struct {
	title, unit string
	rows        []row
}

const (
	width      = 980
	panelWidth = 470
	rowHeight  = 40
	barLeft    = 190 // room for the names
	barHeight  = 18
)

// picture draws the report: time and CPU of the conversion, time to the login.
func picture(r *report) []byte {
	all := panels(r)
	lines := 0
	for _, p := range all {
		lines = max(lines, len(p.rows))
	}
	deep := (len(all) + 1) / 2
	block := float64(70 + lines*rowHeight)
	c := canvas.New(width, 60+int(block)*deep+30)
	c.Text(canvas.Point{X: 24, Y: 34}, canvas.Font{Anchor: "start", Size: 19, Bold: true, Role: canvas.Ink}, "From a disk of another hypervisor to a guest that runs here")
	for i, p := range all {
		p.draw(c, canvas.Point{X: 24 + float64(i%2)*panelWidth, Y: 74 + float64(i/2)*block})
	}
	c.Text(canvas.Point{X: 24, Y: 60 + block*float64(deep) + 12}, canvas.Font{Anchor: "start", Size: 12, Role: canvas.Faint}, footnote(r))
	return c.Done()
}

func footnote(r *report) string {
	return fmt.Sprintf("Medians, and the single runs as dots (%d). %d CPUs, accelerator %s; load of the machine before: %.1f.", r.Rounds, r.CPUs, r.Accelerator, r.LoadBefore)
}

func panels(r *report) (all []panel) {
	if len(r.Conversions) > 0 {
		all = append(all,
			r.converted("Repair of a Debian 12: time", "s", func(c conversion) float64 { return c.WallMS / 1000 }),
			r.converted("Repair of a Debian 12: CPU", "s", func(c conversion) float64 { return c.CPUMS / 1000 }),
			r.converted("Repair of a Debian 12: largest process", "MiB", func(c conversion) float64 { return c.PeakMiB }))
	}
	if len(r.Firsts) == 0 {
		return all
	}
	p := panel{title: fmt.Sprintf("Request to login, source of %.1f GiB at %d MiB/s", float64(r.FarBytes)/(1<<30), r.Rate>>20), unit: "s"}
	for _, way := range []string{waySwitchFirst, wayImportFirst} {
		k := row{name: way, role: roleOf(way), value: r.median(way, login)}
		for _, f := range r.Firsts {
			if f.Way == way {
				k.runs = append(k.runs, f.Login)
			}
		}
		p.rows = append(p.rows, k)
	}
	return append(all, p)
}

func (r *report) converted(title, unit string, of func(conversion) float64) panel {
	p := panel{title: title, unit: unit}
	for _, way := range []string{wayChecked, wayRepaired, wayV2V} {
		took, measured := r.took(way)
		if !measured {
			continue
		}
		k := row{name: way, role: roleOf(way), value: of(conversion{Cost: took})}
		for _, c := range r.Conversions {
			if c.Way == way {
				k.runs = append(k.runs, of(c))
			}
		}
		p.rows = append(p.rows, k)
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

// short has no more digits than say something.
func short(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// draw draws a panel from its upper left corner on.
func (p panel) draw(c *canvas.Canvas, at canvas.Point) {
	const room = 70 // for the value behind a bar
	most := 0.0
	for _, k := range p.rows {
		most = max(most, k.value)
		for _, v := range k.runs {
			most = max(most, v)
		}
	}
	long := func(v float64) float64 { return v / max(most, 1e-9) * (panelWidth - barLeft - room) }
	c.Text(at, canvas.Font{Anchor: "start", Size: 14, Bold: true, Role: canvas.Ink}, p.title)
	for i, k := range p.rows {
		y := at.Y + 20 + float64(i)*rowHeight
		left := at.X + barLeft
		c.Text(canvas.Point{X: left - 10, Y: y + barHeight - 4}, canvas.Font{Anchor: "end", Size: 12, Role: canvas.Ink}, k.name)
		c.Bar(canvas.Point{X: left, Y: y}, long(k.value), barHeight, k.role)
		end := k.value
		for _, v := range k.runs {
			end = max(end, v)
			c.Speck(canvas.Point{X: left + long(v), Y: y + barHeight + 6}, k.role)
		}
		c.Text(canvas.Point{X: left + long(end) + 8, Y: y + barHeight - 4}, canvas.Font{Anchor: "start", Size: 12, Bold: true, Role: k.role}, fmt.Sprintf("%s %s", short(k.value), p.unit))
	}
}
