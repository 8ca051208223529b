package main

import (
	"math"
	"slices"
)

// axes is one panel: a disk's size to the right, a time upwards.
type axes struct {
	x, y, width, height float64 // of the frame, from its upper left corner
	sizes               []int64 // MiB, ascending
	vertical            scale
}

// at is where a size stands: by its logarithm, with some room at both sides.
func (a axes) at(size int64) float64 {
	const margin = 0.1
	first, last := math.Log(float64(a.sizes[0])), math.Log(float64(a.sizes[len(a.sizes)-1]))
	part := 0.5
	if last > first {
		part = margin + (1-2.5*margin)*(math.Log(float64(size))-first)/(last-first)
	}
	return a.x + part*a.width
}

func (a axes) level(ms float64) float64 {
	return a.y + a.height*(1-a.vertical.part(ms))
}

// frame draws the grid with its numbers.
func (a axes) frame(c *canvas, title string) {
	c.text(a.x, a.y-20, "start", 14, "bold", ink, title)
	for _, ms := range a.vertical.ticks {
		y := a.level(ms)
		c.line(a.x, y, a.x+a.width, y, grid, 1)
		c.text(a.x-9, y+4, "end", 12, "", faint, tickText(ms))
	}
	for _, size := range a.sizes {
		c.text(a.at(size), a.y+a.height+21, "middle", 12, "", faint, sizeText(size))
	}
	c.text(a.x+a.width/2, a.y+a.height+43, "middle", 12, "", faint, "size of the disk, all of it filled")
}

// plot draws a line for each mode, through the medians, with a bar from the best
// run to the worst. The modes stand a little apart, so that no bar hides another.
func (a axes) plot(c *canvas, r report, each func(result) float64, middle func(row) float64) {
	const apart = 5
	modes := modesOf(r.Rows)
	half := float64(len(modes)-1) / 2 * apart
	var labels []label
	for i, m := range modes {
		shift := float64(i)*apart - half
		var path []point
		var texts []string
		for _, size := range a.sizes {
			k, ok := r.row(size, m)
			if !ok {
				continue
			}
			p := point{a.at(size) + shift, a.level(middle(k))}
			path, texts = append(path, p), append(texts, msText(middle(k)))
			if values := figures(alike(r.Results, size, m), each); len(values) > 1 {
				c.line(p.x, a.level(slices.Min(values)), p.x, a.level(slices.Max(values)), colours[m], 1.5)
			}
		}
		c.path(path, colours[m], 2.5)
		for i, p := range path {
			c.dot(p.x, p.y, 4.5, colours[m])
			at := beside(path, i)
			labels = append(labels, label{point{math.Round(at.x - shift + half), at.y}, colours[m], texts[i]})
		}
	}
	for _, l := range spread(labels) {
		c.label(l)
	}
}

// beside is a place for the label of a point: to the right, and on the side of
// the line that the line does not turn to.
func beside(path []point, i int) point {
	p := point{path[i].x + 9, path[i].y - 5}
	if i+1 < len(path) && path[i+1].y < path[i].y {
		p.y = path[i].y + 14
	}
	return p
}

// label is a number beside its point.
type label struct {
	point
	colour, text string
}

const labelHeight = 15

// spread moves labels of one column apart, from the lowest upwards, so that all
// can be read.
func spread(labels []label) []label {
	slices.SortStableFunc(labels, func(a, b label) int {
		switch {
		case a.x != b.x:
			return int(math.Copysign(1, a.x-b.x))
		case a.y != b.y:
			return int(math.Copysign(1, b.y-a.y))
		}
		return 0
	})
	for i := 1; i < len(labels); i++ {
		if below := labels[i-1]; below.x == labels[i].x {
			labels[i].y = min(labels[i].y, below.y-labelHeight)
		}
	}
	return labels
}
