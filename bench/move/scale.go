package main

import (
	"fmt"
	"math"
	"slices"
)

// scale says how high a time in milliseconds stands in a panel, from 0 at the
// bottom to 1 at the top, and where its grid lines are.
type scale struct {
	part  func(ms figure) float64
	ticks []figure
}

// logScale covers the values with steps of 1, 2, 5 and their tens; with steps of
// ten alone where those would be too many.
func logScale(values []figure) scale {
	const few = 8
	low, high := figure(100), figure(1000)
	if len(values) > 0 {
		low, high = max(1, slices.Min(values)), max(1, slices.Max(values))
	}
	ticks := steps(low, high, 1, 2, 5)
	if len(ticks) > few {
		ticks = steps(low, high, 1)
	}
	bottom, top := math.Log(float64(ticks[0])), math.Log(float64(ticks[len(ticks)-1]))
	return scale{ticks: ticks, part: func(ms figure) float64 { return (math.Log(float64(max(1, ms))) - bottom) / (top - bottom) }}
}

// steps gives the factors and their tens from the last one at or below low to the
// first one above high.
func steps(low, high figure, factors ...figure) (all []figure) {
	for unit := figure(math.Pow(10, math.Floor(math.Log10(float64(low))))); ; unit *= 10 {
		for _, f := range factors {
			v := f * unit
			if v <= low {
				all = all[:0]
			}
			all = append(all, v)
			if v > high {
				return all
			}
		}
	}
}

// linearScale goes from 0 to above the greatest value in about five steps.
func linearScale(values []figure) scale {
	top := figure(1)
	if len(values) > 0 {
		top = max(top, slices.Max(values))
	}
	step := steps(top/5, top/5, 1, 2, 5)[1]
	s := scale{ticks: []figure{0}}
	for s.ticks[len(s.ticks)-1] < top {
		s.ticks = append(s.ticks, figure(len(s.ticks))*step)
	}
	top = s.ticks[len(s.ticks)-1]
	s.part = func(ms figure) float64 { return float64(ms / top) }
	return s
}

// tickText writes the number of a grid line without needless zeros.
func tickText(ms figure) string {
	if ms == 0 {
		return "0"
	}
	if ms < 1000 {
		return fmt.Sprintf("%g ms", ms)
	}
	return fmt.Sprintf("%g s", ms/1000)
}
