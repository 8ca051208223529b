// Package canvas draws the pictures of benchmarks as SVG, in colours for light and
// for dark surroundings that people with any kind of colour vision tell apart.
package canvas

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// Role is what a colour is for: it differs between light and dark surroundings.
type Role string

// Roles of what is not data, and those of the ways that are compared.
const (
	Ink   Role = "ink"
	Faint Role = "faint"
	Grid  Role = "grid"
	Paper Role = "paper"

	Ours  Role = "ours"
	Plain Role = "plain"
	Peer  Role = "peer"
	Other Role = "other" // a second way of the peer
)

// shade is a colour on light paper and on dark.
type shade struct{ light, dark string }

// shadeOf gives the colours of a role (after Okabe and Ito).
func shadeOf(r Role) shade {
	return map[Role]shade{
		Ink:   {"#1f2328", "#e6edf3"},
		Faint: {"#59636e", "#9198a1"},
		Grid:  {"#dfe3e8", "#30363d"},
		Paper: {"#ffffff", "#0d1117"},
		Ours:  {"#0072b2", "#56b4e9"},
		Plain: {"#6e7781", "#9198a1"},
		Peer:  {"#c24e00", "#ff8c42"},
		Other: {"#9a6700", "#e3b341"},
	}[r]
}

// Point is a place, in pixels from the upper left corner.
type Point struct{ X, Y float64 }

// Canvas is an SVG being written.
type Canvas struct{ b bytes.Buffer }

// New begins a picture.
func New(width, height int) *Canvas {
	c := &Canvas{}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif">`+"\n", width, height, width, height)
	fmt.Fprintf(&c.b, "<style>\n%s@media (prefers-color-scheme: dark) {\n%s}\n</style>\n",
		rules(func(s shade) string { return s.light }), rules(func(s shade) string { return s.dark }))
	fmt.Fprintf(&c.b, `<rect width="%d" height="%d" class="fill-%s"/>`+"\n", width, height, Paper)
	return c
}

func rules(colour func(shade) string) string {
	var all strings.Builder
	for _, r := range []Role{Ink, Faint, Grid, Paper, Ours, Plain, Peer, Other} {
		fmt.Fprintf(&all, ".fill-%s { fill: %s } .line-%s { stroke: %s }\n", r, colour(shadeOf(r)), r, colour(shadeOf(r)))
	}
	return all.String()
}

// Done ends the picture and gives it.
func (c *Canvas) Done() []byte {
	c.b.WriteString("</svg>\n")
	return c.b.Bytes()
}

// Line draws a straight line.
func (c *Canvas) Line(from, to Point, r Role, width float64) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="line-%s" stroke-width="%g"/>`+"\n", from.X, from.Y, to.X, to.Y, r, width)
}

// Path draws a line through points.
func (c *Canvas) Path(points []Point, r Role, width float64) {
	fmt.Fprintf(&c.b, `<polyline fill="none" class="line-%s" stroke-width="%g" stroke-linejoin="round" points="`, r, width)
	for i, p := range points {
		if i > 0 {
			c.b.WriteByte(' ')
		}
		fmt.Fprintf(&c.b, "%.1f,%.1f", p.X, p.Y)
	}
	c.b.WriteString(`"/>` + "\n")
}

// Bar fills a rectangle from its upper left corner on.
func (c *Canvas) Bar(at Point, width, height float64, r Role) {
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="fill-%s"/>`+"\n", at.X, at.Y, width, height, r)
}

// Dot is a median.
func (c *Canvas) Dot(p Point, r Role) {
	fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="5" class="fill-%s line-%s" stroke-width="1.5"/>`+"\n", p.X, p.Y, r, Paper)
}

// Speck is a single run.
func (c *Canvas) Speck(p Point, r Role) {
	fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="2.5" class="fill-%s" fill-opacity="0.45"/>`+"\n", p.X, p.Y, r)
}

// Font is how a text looks.
type Font struct {
	Anchor string // start, middle or end
	Size   int
	Bold   bool
	Role   Role
}

// Text writes a line.
func (c *Canvas) Text(at Point, f Font, s string) {
	weight := "normal"
	if f.Bold {
		weight = "bold"
	}
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" font-weight="%s" class="fill-%s">`, at.X, at.Y, f.Anchor, f.Size, weight, f.Role)
	xml.EscapeText(&c.b, []byte(s)) // a buffer takes everything
	c.b.WriteString("</text>\n")
}
