package main

import (
	"fmt"
	"slices"
)

// Colours that people with any kind of colour vision tell apart (Okabe and Ito).
var colours = map[mode]string{
	switchFirst: "#0072b2",
	preCopy:     "#d55e00",
	virshCopy:   "#e69f00",
	virshSync:   "#cc79a7",
}

var titles = map[mode]string{
	switchFirst: "Droveway: switch first",
	preCopy:     "QEMU pre-copy",
	virshCopy:   "virsh --copy-storage-all",
	virshSync:   "virsh … synchronous writes",
}

// picture draws the report: on the left when the machine runs at its new place,
// on the right what its client notices.
func picture(r report) []byte {
	c := newCanvas(980, 470)
	c.text(30, 34, "start", 18, "bold", ink, "Moving a running machine with a filled local disk")
	c.text(30, 54, "start", 12, "", faint, subtitle(r))
	sizes := sizesOf(r.Rows)
	left := axes{x: 84, y: 140, width: 370, height: 274, sizes: sizes}
	right := axes{x: 566, y: 140, width: 370, height: 274, sizes: sizes}
	running := func(k result) float64 { return k.RequestToRunning }
	gap := func(k result) float64 { return k.ClientGap }
	left.vertical = logScale(figures(r.Results, running))
	right.vertical = linearScale(figures(r.Results, gap))
	left.frame(c, "Until it runs on the target (log scale)")
	right.frame(c, "Longest wait of a client, in the whole move")
	left.plot(c, r, running, func(k row) float64 { return k.RequestToRunning })
	right.plot(c, r, gap, func(k row) float64 { return k.ClientGap })
	legend(c, r)
	return c.done()
}

func subtitle(r report) string {
	tls := "in the clear"
	if r.Setting.TLS {
		tls = "encrypted with TLS"
	}
	runs := 1
	for _, k := range r.Rows {
		runs = max(runs, k.Runs)
	}
	of := "1 run"
	if runs > 1 {
		of = fmt.Sprintf("median, best and worst of %d runs", runs)
	}
	return fmt.Sprintf("%d MiB of memory, the guest writes all the time, %s; %d CPUs, QEMU %s (%s); %s",
		r.Setting.MemoryMiB, tls, r.Setting.CPUs, r.Setting.QEMU, r.Setting.Accelerator, of)
}

func sizesOf(rows []row) (sizes []int64) {
	for _, k := range rows {
		sizes = append(sizes, k.DiskMiB)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

func figures(results []result, figure func(result) float64) (values []float64) {
	for _, k := range results {
		values = append(values, figure(k))
	}
	return values
}

func modesOf(rows []row) (modes []mode) {
	for _, m := range allModes {
		if slices.ContainsFunc(rows, func(k row) bool { return k.Mode == m }) {
			modes = append(modes, m)
		}
	}
	return modes
}

// legend names the lines in one row, for both panels.
func legend(c *canvas, r report) {
	x := 30.0
	for _, m := range modesOf(r.Rows) {
		c.line(x, 84, x+26, 84, colours[m], 3)
		c.dot(x+13, 84, 4.5, colours[m])
		c.text(x+34, 88, "start", 13, "bold", colours[m], titles[m])
		x += 60 + 7.6*float64(len(titles[m]))
	}
}
