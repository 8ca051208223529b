package main

import (
	"fmt"

	"github.com/droveway/droveway/bench/canvas"
)

const (
	pictureWidth = 2*canvas.PanelWidth + 40
	margin       = 24
)

// picture draws the CPU time and the memory of each inspection.
func picture(r *report) []byte {
	cpu := canvas.Panel{Title: "Inspection: CPU", Unit: "ms"}
	peak := canvas.Panel{Title: "Inspection: largest process", Unit: "MiB"}
	add := func(i result, name string, role canvas.Role) {
		cpu.Rows = append(cpu.Rows, canvas.Row{Name: name, Role: role, Value: i.CPUMS})
		peak.Rows = append(peak.Rows, canvas.Row{Name: name, Role: role, Value: i.PeakMiB})
	}
	for _, i := range r.Images {
		add(i, i.Image, canvas.Ours)
	}
	if r.Peer != nil {
		add(*r.Peer, "virt-inspector, raw", canvas.Peer)
	}
	bottom := 60 + cpu.Height()
	c := canvas.New(pictureWidth, int(bottom)+30)
	c.Text(canvas.Point{X: margin, Y: 34}, canvas.Font{Anchor: "start", Size: 19, Bold: true, Role: canvas.Ink}, "What is on this disk?")
	cpu.Draw(c, canvas.Point{X: margin, Y: 74})
	peak.Draw(c, canvas.Point{X: margin + canvas.PanelWidth, Y: 74})
	c.Text(canvas.Point{X: margin, Y: bottom + 12}, canvas.Font{Anchor: "start", Size: 12, Role: canvas.Faint},
		fmt.Sprintf("Medians of %d runs; the peer once. %d CPUs; load of the machine before: %.1f.", rounds, r.CPUs, r.LoadBefore))
	return c.Done()
}
