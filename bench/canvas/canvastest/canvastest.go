// Package canvastest looks at the pictures of benchmarks. It computes only.
package canvastest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

// Sound fails the test unless a picture is well-formed, and all its coordinates are
// numbers.
func Sound(t testing.TB, name string, svg []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
		t.Errorf("%s: a coordinate is no number", name)
	}
}
