package canvas

import "fmt"

// Row is a bar of a panel.
type Row struct {
	Name  string
	Role  Role
	Value float64
	Runs  []float64 // what the value is the median of
}

// Panel is one question, and what each way gave.
type Panel struct {
	Title, Unit string
	Rows        []Row
}

// PanelWidth is that of each panel, in pixels.
const PanelWidth = 470

const (
	rowHeight = 40
	barLeft   = 190 // room for the names
	barHeight = 18
)

// Height is how much room a panel takes, in pixels.
func (p Panel) Height() float64 { return float64(70 + len(p.Rows)*rowHeight) }

// Draw draws a panel from its upper left corner on.
func (p Panel) Draw(c *Canvas, at Point) {
	const room = 70 // for the value behind a bar
	most := 0.0
	for _, k := range p.Rows {
		most = max(most, k.Value)
		for _, v := range k.Runs {
			most = max(most, v)
		}
	}
	long := func(v float64) float64 { return v / max(most, 1e-9) * (PanelWidth - barLeft - room) }
	c.Text(at, Font{Anchor: "start", Size: 14, Bold: true, Role: Ink}, p.Title)
	for i, k := range p.Rows {
		y := at.Y + 20 + float64(i)*rowHeight
		left := at.X + barLeft
		c.Text(Point{X: left - 10, Y: y + barHeight - 4}, Font{Anchor: "end", Size: 12, Role: Ink}, k.Name)
		c.Bar(Point{X: left, Y: y}, long(k.Value), barHeight, k.Role)
		end := k.Value
		for _, v := range k.Runs {
			end = max(end, v)
			c.Speck(Point{X: left + long(v), Y: y + barHeight + 6}, k.Role)
		}
		c.Text(Point{X: left + long(end) + 8, Y: y + barHeight - 4}, Font{Anchor: "start", Size: 12, Bold: true, Role: k.Role}, fmt.Sprintf("%s %s", short(k.Value), p.Unit))
	}
}

// short has no more digits than say something.
func short(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
