package identify

import "regexp"

// Test is one look at a disk. Exactly one of Fact, Glob, File and Key is given.
type Test struct {
	Name string `json:"name" yaml:"-"`
	// Fact is something that the inspection knows, as "table" or "root".
	Fact string `json:"fact,omitempty" yaml:"fact"`
	// Glob is a pattern of paths; the values are the base names found.
	Glob []string `json:"glob,omitempty" yaml:"glob"`
	// File names files of which the first that is there is searched.
	File []string `json:"file,omitempty" yaml:"file"`
	// Key names files of lines KEY=VALUE of which Name is looked up.
	Key  []string `json:"key,omitempty" yaml:"key"`
	Word string   `json:"word,omitempty" yaml:"word"`
	// Match picks the values: its first group, or all that it matches.
	Match string `json:"match,omitempty" yaml:"match"`
	// Dear tests are carried out only if the others leave a doubt.
	Dear bool `json:"dear,omitempty" yaml:"dear"`

	match *regexp.Regexp
}

// Pick gives what Match picks from a text.
func (t *Test) Pick(s string) (string, bool) {
	if t.match == nil {
		return s, true
	}
	m := t.match.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	if len(m) > 1 {
		return m[1], true
	}
	return m[0], true
}

// Value is what a test gave: values, or none (absent), or why it failed.
type Value struct {
	Values []string `json:"values,omitempty"`
	Error  string   `json:"error,omitempty"`
	NotRun bool     `json:"not_run,omitempty"`
}

// Absent reports whether the test found nothing.
func (v Value) Absent() bool { return len(v.Values) == 0 }

// First is the first value.
func (v Value) First() string {
	if v.Absent() {
		return ""
	}
	return v.Values[0]
}

// Vector is the testing vector: what every test gave, by its name.
type Vector map[string]Value
