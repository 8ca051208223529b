package canvas

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

// TestSound has every kind of mark make a picture that a reader of XML takes, whatever
// a text says.
func TestSound(t *testing.T) {
	t.Parallel()
	c := New(100, 50)
	c.Line(Point{1, 2}, Point{3, 4}, Grid, 1)
	c.Path([]Point{{1, 2}, {3, 4}}, Ours, 2)
	c.Bar(Point{1, 2}, 30, 4, Peer)
	c.Dot(Point{1, 2}, Ours)
	c.Speck(Point{1, 2}, Ours)
	c.Text(Point{1, 2}, Font{Anchor: "end", Size: 12, Bold: true, Role: Ink}, `<"&`)
	svg := c.Done()
	marks := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := token.(xml.StartElement); ok {
			marks[s.Name.Local]++
		}
	}
	for mark, want := range map[string]int{"line": 1, "polyline": 1, "rect": 2, "circle": 2, "text": 1} {
		if marks[mark] != want {
			t.Errorf("%d of %s, want %d", marks[mark], mark, want)
		}
	}
	if bytes.Contains(svg, []byte(": ;")) || bytes.Contains(svg, []byte("fill:  ")) {
		t.Error("a role has no colour")
	}
}
