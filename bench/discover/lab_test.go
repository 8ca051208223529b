//go:build lab

package main

import (
	"testing"
)

// SYSTEMS 3.1, 3.2, 3.3, 3.4, 3.5, 3.10: real probes in real networks, with noise,
// clocks that are off, and a public address that changes, find who talks to whom,
// to the process. Joining by addresses does not.
func TestLab(t *testing.T) {
	r, err := measureLab(2, 11)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exact != r.Runs || r.Truth == 0 {
		t.Errorf("%+v", r)
	}
	for _, s := range r.Scores {
		if s.Evidence == "isn" && (s.Precision != 1 || s.Recall != 1) {
			t.Errorf("%+v", s)
		}
		if s.Evidence == "baseline 5-tuple" && s.Recall > 0.5 {
			t.Errorf("the networks translate too little: %+v", s)
		}
	}
}
