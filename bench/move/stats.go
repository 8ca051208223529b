package main

import (
	"math"
	"slices"
)

// quantile gives the value below which a part q of the values lies, between two
// values in proportion; NaN if there are none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (sorted[above]-sorted[below])*(at-float64(below))
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// tenths rounds: more digits than that of a millisecond would be noise.
func tenths(v float64) float64 { return math.Round(v*10) / 10 }
