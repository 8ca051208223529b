package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// role is what a colour is for: it differs between light and dark surroundings.
type role string

// Roles of what is not data; the modes have theirs.
const (
	ink   role = "ink"
	faint role = "faint"
	grid  role = "grid"
	paper role = "paper"
)

// shade is a colour on light paper and on dark.
type shade struct{ light, dark string }

// shades has colours that people with any kind of colour vision tell apart (after
// Okabe and Ito).
var shades = map[role]shade{
	ink:          {"#1f2328", "#e6edf3"},
	faint:        {"#59636e", "#9198a1"},
	grid:         {"#dfe3e8", "#30363d"},
	paper:        {"#ffffff", "#0d1117"},
	ours:         {"#0072b2", "#56b4e9"},
	byQEMU:       {"#6e7781", "#9198a1"},
	byVirsh:      {"#c24e00", "#ff8c42"},
	byVirshWaits: {"#9a6700", "#e3b341"},
}

type point struct{ x, y float64 }

// canvas is an SVG being written.
type canvas struct{ bytes.Buffer }

func newCanvas(width, height int) *canvas {
	c := &canvas{}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif">`+"\n", width, height, width, height)
	fmt.Fprintf(c, "<style>\n%s@media (prefers-color-scheme: dark) {\n%s}\n</style>\n",
		rules(func(s shade) string { return s.light }), rules(func(s shade) string { return s.dark }))
	fmt.Fprintf(c, `<rect width="%d" height="%d" class="fill-%s"/>`+"\n", width, height, paper)
	return c
}

func rules(colour func(shade) string) string {
	var all strings.Builder
	for _, r := range []role{ink, faint, grid, paper, ours, byQEMU, byVirsh, byVirshWaits} {
		fmt.Fprintf(&all, ".fill-%s { fill: %s } .line-%s { stroke: %s }\n", r, colour(shades[r]), r, colour(shades[r]))
	}
	return all.String()
}

func (c *canvas) done() []byte {
	c.WriteString("</svg>\n")
	return c.Bytes()
}

func (c *canvas) line(x1, y1, x2, y2 float64, r role, width float64) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="line-%s" stroke-width="%g"/>`+"\n", x1, y1, x2, y2, r, width)
}

func (c *canvas) path(points []point, r role, width float64) {
	fmt.Fprintf(c, `<polyline fill="none" class="line-%s" stroke-width="%g" stroke-linejoin="round" points="`, r, width)
	for i, p := range points {
		if i > 0 {
			c.WriteByte(' ')
		}
		fmt.Fprintf(c, "%.1f,%.1f", p.x, p.y)
	}
	c.WriteString(`"/>` + "\n")
}

// dot is a median.
func (c *canvas) dot(p point, r role) {
	fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="5" class="fill-%s line-%s" stroke-width="1.5"/>`+"\n", p.x, p.y, r, paper)
}

// speck is a single run.
func (c *canvas) speck(p point, r role) {
	fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="2.5" class="fill-%s" fill-opacity="0.45"/>`+"\n", p.x, p.y, r)
}

func (c *canvas) text(x, y float64, anchor string, size int, weight string, r role, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" font-weight="%s" class="fill-%s">`, x, y, anchor, size, weight, r)
	xml.EscapeText(c, []byte(s)) // a buffer takes everything
	c.WriteString("</text>\n")
}
