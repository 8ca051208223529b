package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// Colours of what is not data.
const (
	ink   = "#1a1a1a"
	faint = "#5a5a5a"
	grid  = "#dddddd"
	paper = "#ffffff"
)

type point struct{ x, y float64 }

// canvas is an SVG being written.
type canvas struct{ bytes.Buffer }

func newCanvas(width, height int) *canvas {
	c := &canvas{}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif">`+"\n", width, height, width, height)
	fmt.Fprintf(c, `<rect width="%d" height="%d" fill="%s"/>`+"\n", width, height, paper)
	return c
}

func (c *canvas) done() []byte {
	c.WriteString("</svg>\n")
	return c.Bytes()
}

func (c *canvas) line(x1, y1, x2, y2 float64, colour string, width float64) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"/>`+"\n", x1, y1, x2, y2, colour, width)
}

func (c *canvas) path(points []point, colour string, width float64) {
	fmt.Fprintf(c, `<polyline fill="none" stroke="%s" stroke-width="%g" stroke-linejoin="round" points="`, colour, width)
	for i, p := range points {
		if i > 0 {
			c.WriteByte(' ')
		}
		fmt.Fprintf(c, "%.1f,%.1f", p.x, p.y)
	}
	c.WriteString(`"/>` + "\n")
}

func (c *canvas) dot(x, y, radius float64, colour string) {
	fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="%g" fill="%s" stroke="%s" stroke-width="1.5"/>`+"\n", x, y, radius, colour, paper)
}

func (c *canvas) text(x, y float64, anchor string, size int, weight, colour, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" font-weight="%s" fill="%s">`, x, y, anchor, size, orNormal(weight), colour)
	xml.EscapeText(c, []byte(s)) // a buffer takes everything
	c.WriteString("</text>\n")
}

func orNormal(weight string) string {
	if weight == "" {
		return "normal"
	}
	return weight
}

// label writes a number with a rim of paper, so that lines behind it do not
// disturb.
func (c *canvas) label(l label) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" font-size="12" font-weight="bold" fill="%s" stroke="%s" stroke-width="3" paint-order="stroke" stroke-linejoin="round">`, l.x, l.y, l.colour, paper)
	xml.EscapeText(c, []byte(l.text))
	c.WriteString("</text>\n")
}
