package identify

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Status is the outcome of an identification.
type Status string

// The outcomes. Only Identified names one system; nothing is guessed.
const (
	Identified  Status = "identified"
	Ambiguous   Status = "ambiguous"
	Unsupported Status = "unsupported"
)

// Limits of a match.
const (
	// What a test that found nothing costs, against one that speaks against
	// a system: files get lost, they rarely turn into others.
	absentCost = 0.3
	// A system farther away than this is not taken for identified.
	maxDistance = 0.45
	// So much weight must speak for it.
	minEvidence = 12
	// The next one must be so much farther away.
	minMargin = 0.05
	// Evidence of such weight for another system is a contradiction.
	strong = 8
	ranked = 5
)

// Report is the outcome and all that led to it.
type Report struct {
	Status  Status      `json:"status"`
	ID      string      `json:"id,omitempty"` // in the vocabulary of osinfo
	Name    string      `json:"name,omitempty"`
	Distro  string      `json:"distro,omitempty"`
	Version string      `json:"version,omitempty"` // as exactly as the disk says
	Margin  float64     `json:"margin"`            // distance to the next one
	Why     []string    `json:"why"`
	Ranked  []Candidate `json:"ranked,omitempty"`
	Vector  Vector      `json:"vector"`
}

// Candidate is a system and how far it is from the disk: 0 is all that is
// expected, 1 is all of it different.
type Candidate struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Distance float64   `json:"distance"`
	Evidence []Finding `json:"evidence"`

	system   *system
	matching float64 // weight
}

// Finding is one feature held against the vector.
type Finding struct {
	Test    string  `json:"test"`
	Want    string  `json:"want"`
	Got     string  `json:"got,omitempty"`
	Weight  float64 `json:"weight"`
	Verdict string  `json:"verdict"` // "for", "against" or "absent"
}

// Match compares a testing vector with all systems.
func (c *Catalog) Match(v Vector) Report {
	r := Report{Status: Unsupported, Vector: v, Margin: 1}
	all, out := c.rank(v)
	if len(all) > 1 {
		r.Margin = round(all[1].Distance - all[0].Distance)
	}
	r.Ranked = all[:min(ranked, len(all))]
	if why := tooFar(all); why != "" {
		r.Why = append(r.Why, why)
		r.nameKind(c, v)
		return r
	}
	best := all[0]
	r.ID, r.Name, r.Distro, r.Version = best.ID, best.Name, best.system.distro, best.system.exactly(v)
	r.judge(best, all[1:], out)
	return r
}

// tooFar says why not even the nearest system is taken.
func tooFar(all []Candidate) string {
	switch {
	case len(all) == 0:
		return "no known system has what this disk has"
	case all[0].matching < minEvidence:
		return fmt.Sprintf("too little speaks for any system: %s comes nearest, with evidence of weight %g of the %g needed", all[0].Name, all[0].matching, float64(minEvidence))
	case all[0].Distance > maxDistance:
		return fmt.Sprintf("%s comes nearest, at a distance of %.2f: at most %.2f is taken", all[0].Name, all[0].Distance, maxDistance)
	}
	return ""
}

// nameKind tells at least what kind of system it is.
func (r *Report) nameKind(c *Catalog, v Vector) {
	for i := range c.systems {
		if s := &c.systems[i]; s.fallback && !s.lacks(v) && !s.forbidden(v) {
			r.ID, r.Name, r.Distro = s.id, s.name, s.distro
			return
		}
	}
}

// judge looks for reasons not to believe the best.
func (r *Report) judge(best Candidate, others, out []Candidate) {
	r.Status = Identified
	r.Why = append(r.Why, reasons(best)...)
	if contradictions := contradict(best, slices.Concat(others, out)); len(contradictions) > 0 {
		r.Status = Ambiguous
		r.Why = append(contradictions, r.Why...)
	}
	if r.Margin < minMargin {
		r.Status = Ambiguous
		r.Why = append([]string{fmt.Sprintf("%s and %s fit almost equally well", best.Name, others[0].Name)}, r.Why...)
	}
}

func reasons(c Candidate) []string {
	var why []string
	for _, f := range c.Evidence {
		if f.Verdict == "for" {
			why = append(why, fmt.Sprintf("%s is %q", f.Test, f.Got))
		}
	}
	return why
}

// contradict finds strong evidence against the best, and strong evidence for
// another that the best does not account for.
func contradict(best Candidate, others []Candidate) []string {
	var found []string
	explained := map[string]bool{}
	for _, f := range best.Evidence {
		explained[f.Test] = explained[f.Test] || f.Verdict == "for"
	}
	for _, f := range best.Evidence {
		if f.Verdict == "against" && f.Weight >= strong && !explained[f.Test] {
			found = append(found, fmt.Sprintf("%s is %q, %s would have %s", f.Test, f.Got, best.Name, f.Want))
			explained[f.Test] = true
		}
	}
	for _, o := range others {
		for _, f := range o.Evidence {
			if f.Verdict == "for" && f.Weight >= strong && !explained[f.Test] {
				found = append(found, fmt.Sprintf("%s is %q, as in %s and not in %s", f.Test, f.Got, o.Name, best.Name))
				explained[f.Test] = true
			}
		}
	}
	return found
}

// rank gives the systems that have something of the disk, the nearest first, and
// those that are out because they lack something: what speaks for them all the
// same may contradict the others.
func (c *Catalog) rank(v Vector) (all, out []Candidate) {
	for i := range c.systems {
		s := &c.systems[i]
		if s.fallback || s.forbidden(v) {
			continue
		}
		k := s.compare(v)
		switch {
		case k.matching == 0:
		case s.lacks(v):
			out = append(out, k)
		default:
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(a, b Candidate) int {
		switch {
		case a.Distance != b.Distance:
			if a.Distance < b.Distance {
				return -1
			}
			return 1
		case a.matching != b.matching:
			return int(b.matching - a.matching)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, out
}

func (s *system) lacks(v Vector) bool {
	for _, f := range s.must {
		if _, ok := f.matches(v); !ok {
			return true
		}
	}
	return false
}

func (s *system) forbidden(v Vector) bool {
	for _, f := range s.mustNot {
		if _, ok := f.matches(v); ok {
			return true
		}
	}
	return false
}

func (s *system) compare(v Vector) Candidate {
	k := Candidate{ID: s.id, Name: s.name, system: s}
	var cost, total float64
	for _, f := range s.features {
		total += f.weight
		finding := Finding{Test: f.test, Want: f.is.text, Weight: f.weight, Verdict: "against", Got: v[f.test].First()}
		got, ok := f.matches(v)
		switch {
		case ok:
			finding.Got, finding.Verdict = got, "for"
			k.matching += f.weight
		case v[f.test].Absent():
			finding.Verdict = "absent"
			cost += absentCost * f.weight
		default:
			cost += f.weight
		}
		k.Evidence = append(k.Evidence, finding)
	}
	k.Distance = 1
	if total > 0 {
		k.Distance = round(cost / total)
	}
	return k
}

func round(f float64) float64 { return math.Round(f*1000) / 1000 }

func (f *feature) matches(v Vector) (string, bool) {
	for _, s := range v[f.test].Values {
		if f.is.match(s) {
			return s, true
		}
	}
	return "", false
}

// exactly gives the version as the disk says it, if that is a version of the
// system found.
func (s *system) exactly(v Vector) string {
	for _, test := range s.exact {
		if got := v[test].First(); got != "" && strings.HasPrefix(got, s.version) {
			return got
		}
	}
	return s.version
}
