package main

import (
	"fmt"
	"slices"

	"github.com/droveway/droveway/bench/canvas"
)

// look is how a mode is drawn: the ways of one program have one colour.
type look struct {
	role canvas.Role
	name string
}

var looks = map[mode]look{
	switchFirst:  {canvas.Ours, "Droveway"},
	preCopy:      {canvas.Plain, "QEMU pre-copy"},
	virshCopy:    {canvas.Peer, "virsh migrate"},
	virshSync:    {canvas.Other, "virsh, sync writes"},
	quickRestart: {canvas.Ours, "Droveway"},
	copyRestart:  {canvas.Peer, "stop, copy, start"},
}

// panel is one of the picture's three.
type panel struct {
	title, note string
	restarts    bool
	scale       func([]figure) scale
	of          func(figures) figure
}

var panels = []panel{
	{"Move: until it runs on the new host", "from the request, log scale", false, logScale, func(f figures) figure { return f.RequestToRunning }},
	{"Move: client's longest gap at the switch", "in the 3 s around it", false, linearScale, func(f figures) figure { return f.SwitchGap }},
	{"Restart on another host: downtime", "last write before to first after, log scale", true, logScale, func(f figures) figure { return f.Downtime }},
}

// picture draws the report: a title that says what came out, and a panel for
// each question.
func picture(r report) []byte {
	const width, pitch = 1244, 410
	c := canvas.New(width, 452)
	first, second := finding(r)
	c.Text(canvas.Point{X: 24, Y: 36}, canvas.Font{Anchor: "start", Size: 19, Bold: true, Role: canvas.Ink}, first)
	c.Text(canvas.Point{X: 24, Y: 60}, canvas.Font{Anchor: "start", Size: 14, Role: canvas.Ink}, second)
	left := 76.0
	for _, p := range panels {
		sizes := p.sizes(r)
		if len(sizes) == 0 {
			continue
		}
		a := axes{x: left, y: 128, width: 168, height: 238, sizes: sizes, scale: p.scale(p.values(r.Results))}
		a.frame(c, p)
		a.plot(c, r, p)
		left += pitch
	}
	c.Text(canvas.Point{X: 24, Y: 436}, small("start"), subtitle(r))
	return c.Done()
}

// finding says what came out, in one line and another.
func finding(r report) (first, second string) {
	first = "Moving a running machine with a filled local disk"
	sizes := sizesOf(r.Rows)
	if len(sizes) == 0 {
		return first, ""
	}
	size := sizes[len(sizes)-1]
	ours, ok := r.row(size, switchFirst)
	for _, m := range []mode{virshCopy, preCopy} {
		if theirs, there := r.row(size, m); ok && there {
			first = fmt.Sprintf("%s disk: the machine runs on its new host %s × sooner with Droveway than with %s",
				sizeText(size), factorText(theirs.RequestToRunning/ours.RequestToRunning), looks[m].name)
			break
		}
	}
	quick, ok := r.row(size, quickRestart)
	byHand, there := r.row(size, copyRestart)
	if ok && there {
		second = fmt.Sprintf("Restarted on another host it is away for %s instead of %s. ", msText(quick.Downtime), msText(byHand.Downtime))
	}
	return first, second + lossText(r)
}

func factorText(f figure) string {
	if f < 10 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

func lossText(r report) string {
	var lost, all uint64
	for _, k := range r.Rows {
		lost, all = lost+k.Lost, all+k.Acknowledged
	}
	if lost == 0 {
		return "No acknowledged write was lost."
	}
	return fmt.Sprintf("%d of %d acknowledged writes were lost.", lost, all)
}

func subtitle(r report) string {
	tls := "in the clear"
	if r.Setting.TLS {
		tls = "all with TLS"
	}
	runs := 1
	for _, k := range r.Rows {
		runs = max(runs, k.Runs)
	}
	return fmt.Sprintf("Medians, and the single runs as dots (up to %d). The guest writes all the time; %d MiB of memory, disk filled, %s; %d CPUs, QEMU %s (%s).",
		runs, r.Setting.MemoryMiB, tls, r.Setting.CPUs, r.Setting.QEMU, r.Setting.Accelerator)
}

func sizesOf(rows []row) (sizes []int64) {
	for _, k := range rows {
		sizes = append(sizes, k.DiskMiB)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// modes are those of the panel that were measured.
func (p panel) modes(r report) (modes []mode) {
	for _, m := range allModes {
		if m.restarts() == p.restarts && slices.ContainsFunc(r.Rows, func(k row) bool { return k.Mode == m }) {
			modes = append(modes, m)
		}
	}
	return modes
}

func (p panel) sizes(r report) []int64 {
	return sizesOf(slices.DeleteFunc(slices.Clone(r.Rows), func(k row) bool { return k.Mode.restarts() != p.restarts }))
}

func (p panel) values(results []result) (values []figure) {
	for _, r := range results {
		if r.Mode.restarts() == p.restarts {
			values = append(values, p.of(r.figures))
		}
	}
	return values
}
