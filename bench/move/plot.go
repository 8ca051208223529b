package main

import (
	"cmp"
	"slices"

	"github.com/droveway/droveway/bench/canvas"
)

// axes is one panel's plot: a disk's size to the right, a time upwards.
type axes struct {
	x, y, width, height float64 // of the frame, from its upper left corner
	sizes               []int64 // MiB, ascending
	scale               scale
}

// at is where a size stands: all sizes at the same distance.
func (a axes) at(size int64) float64 {
	i := slices.Index(a.sizes, size)
	return a.x + a.width*(float64(i)+0.5)/float64(len(a.sizes))
}

func (a axes) level(ms figure) float64 { return a.y + a.height*(1-a.scale.part(ms)) }

// small is for numbers and notes.
func small(anchor string) canvas.Font {
	return canvas.Font{Anchor: anchor, Size: 12, Role: canvas.Faint}
}

// frame draws the grid with its numbers.
func (a axes) frame(c *canvas.Canvas, p panel) {
	const left = 52 // of the frame: room for the numbers
	c.Text(canvas.Point{X: a.x - left, Y: a.y - 34}, canvas.Font{Anchor: "start", Size: 14, Bold: true, Role: canvas.Ink}, p.title)
	c.Text(canvas.Point{X: a.x - left, Y: a.y - 17}, small("start"), p.note)
	for _, ms := range a.scale.ticks {
		y := a.level(ms)
		c.Line(canvas.Point{X: a.x, Y: y}, canvas.Point{X: a.x + a.width, Y: y}, canvas.Grid, 1)
		c.Text(canvas.Point{X: a.x - 9, Y: y + 4}, small("end"), tickText(ms))
	}
	for _, size := range a.sizes {
		c.Text(canvas.Point{X: a.at(size), Y: a.y + a.height + 20}, small("middle"), sizeText(size))
	}
	c.Text(canvas.Point{X: a.x + a.width/2, Y: a.y + a.height + 38}, small("middle"), "disk, all of it filled")
}

// plot draws for each mode a line through its medians, its single runs beside
// it, and its name at the end. Droveway's comes last, on top.
func (a axes) plot(c *canvas.Canvas, r report, p panel) {
	const apart = 7 // so that no mode's runs hide another's
	modes := p.modes(r)
	half := float64(len(modes)-1) / 2
	var labels []label
	for i, m := range slices.Backward(modes) {
		shift := (float64(i) - half) * apart
		var path []canvas.Point
		var last figure
		for _, size := range a.sizes {
			k, ok := r.row(size, m)
			if !ok {
				continue
			}
			last = p.of(k.figures)
			path = append(path, canvas.Point{X: a.at(size) + shift, Y: a.level(last)})
			for _, one := range alike(r.Results, size, m) {
				c.Speck(canvas.Point{X: a.at(size) + shift, Y: a.level(p.of(one.figures))}, looks[m].role)
			}
		}
		c.Path(path, looks[m].role, 2.5)
		for _, p := range path {
			c.Dot(p, looks[m].role)
		}
		labels = append(labels, label{path[len(path)-1].Y + 4, looks[m], msText(last)})
	}
	for _, l := range spread(labels) {
		c.Text(canvas.Point{X: a.x + a.width + 6, Y: l.y}, canvas.Font{Anchor: "start", Size: 12, Bold: true, Role: l.role}, l.name+" "+l.value)
	}
}

// label stands at the end of a line.
type label struct {
	y float64
	look
	value string
}

const labelHeight = 16

// spread moves labels apart, from the lowest upwards, so that all can be read.
func spread(labels []label) []label {
	slices.SortFunc(labels, func(a, b label) int { return cmp.Compare(b.y, a.y) })
	for i := 1; i < len(labels); i++ {
		labels[i].y = min(labels[i].y, labels[i-1].y-labelHeight)
	}
	return labels
}
