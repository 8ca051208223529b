package main

import (
	"fmt"
	"math"
	"slices"
)

// scale says how high a time in milliseconds stands in a panel, from 0 at the
// bottom to 1 at the top, and where its grid lines are.
type scale struct {
	part  func(ms float64) float64
	ticks []float64
}

// logScale covers the values with whole powers of ten.
func logScale(values []float64) scale {
	low, high := 2.0, 3.0 // 0.1 s to 1 s
	if len(values) > 0 {
		low = math.Floor(math.Log10(max(1, slices.Min(values))))
		high = max(low+1, math.Ceil(math.Log10(max(1, slices.Max(values)))))
	}
	s := scale{part: func(ms float64) float64 { return (math.Log10(max(1, ms)) - low) / (high - low) }}
	for e := low; e <= high; e++ {
		s.ticks = append(s.ticks, math.Pow(10, e))
	}
	return s
}

// linearScale goes from 0 to above the greatest value in round steps.
func linearScale(values []float64) scale {
	const steps = 5
	top := 1.0
	if len(values) > 0 {
		top = max(top, slices.Max(values))
	}
	step := roundUp(top * 1.08 / steps) // the label above the greatest needs room
	top = step * math.Ceil(top*1.08/step)
	s := scale{part: func(ms float64) float64 { return ms / top }}
	for v := 0.0; v <= top+step/2; v += step {
		s.ticks = append(s.ticks, v)
	}
	return s
}

// roundUp gives the next of 1, 2, 2.5, 5 with any number of zeros.
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 2.5, 5} {
		if f*unit >= v {
			return f * unit
		}
	}
	return 10 * unit
}

// tickText writes the number of a grid line without needless zeros.
func tickText(ms float64) string {
	if ms < 100 && ms > 0 {
		return fmt.Sprintf("%g ms", ms)
	}
	return fmt.Sprintf("%g s", ms/1000)
}
