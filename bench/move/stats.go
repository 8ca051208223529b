package main

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// figure is a number that was measured, or none.
type figure float64

// none stands where there is nothing to measure; JSON has null for it.
func none() figure { return figure(math.NaN()) }

func (f figure) known() bool { return !math.IsNaN(float64(f)) }

// MarshalJSON writes null for none.
func (f figure) MarshalJSON() ([]byte, error) {
	if !f.known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// rounded keeps two digits after the point: more would be noise.
func (f figure) rounded() figure { return figure(math.Round(float64(f)*100) / 100) }

// ms is a time in milliseconds.
func ms(d time.Duration) figure { return figure(float64(d) / float64(time.Millisecond)).rounded() }

// quantile gives the value below which a part q of the values lies, between two
// values in proportion; NaN if there are none.
func quantile[F ~float64](values []F, q float64) F {
	if len(values) == 0 {
		return F(math.NaN())
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (sorted[above]-sorted[below])*F(at-float64(below))
}

// median leaves out what is none.
func median(values []figure) figure {
	return quantile(slices.DeleteFunc(slices.Clone(values), func(f figure) bool { return !f.known() }), 0.5)
}
