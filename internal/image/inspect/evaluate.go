package inspect

import (
	"path"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/identify"
)

// Limits of a test.
const (
	maxTested = 8 << 20 // bytes of a file; the package list of a large server
	maxValues = 200
	maxValue  = 400 // bytes
)

// identify carries the tests out, the dear ones only where the others leave a
// doubt, and matches what they give.
func (s *inspection) identify() {
	v := identify.Vector{}
	var dear []identify.Test
	for _, t := range s.catalog.Tests() {
		if t.Dear {
			dear = append(dear, t)
			v[t.Name] = identify.Value{NotRun: true}
			continue
		}
		v[t.Name] = s.evaluate(t)
	}
	s.report.OS = s.catalog.Match(v)
	if s.report.OS.Status != identify.Identified {
		for _, t := range dear {
			v[t.Name] = s.evaluate(t)
		}
		s.report.OS = s.catalog.Match(v)
	}
	if len(s.report.System.Roots) > 1 {
		s.report.OS.Status = identify.Ambiguous
		s.report.OS.Why = append([]string{"the disk holds several systems, on " + strings.Join(s.report.System.Roots, ", ")}, s.report.OS.Why...)
	}
	if s.tree == nil {
		s.report.OS.Why = append([]string{s.whyNoRoot()}, s.report.OS.Why...)
	}
}

// whyNoRoot says what was looked at.
func (s *inspection) whyNoRoot() string {
	if len(s.volumes) == 0 {
		return "no root filesystem: the disk has no partition that can be read"
	}
	var seen []string
	for _, v := range s.volumes {
		what := v.Name + " (" + v.Kind
		if v.Problem != "" {
			what += ": " + v.Problem
		}
		seen = append(seen, what+")")
	}
	return "no root filesystem among " + strings.Join(seen, ", ")
}

func (s *inspection) evaluate(t identify.Test) identify.Value {
	if t.Fact != "" {
		return pick(t, s.fact(t.Fact))
	}
	if s.tree == nil {
		return identify.Value{}
	}
	if len(t.Glob) > 0 {
		return pick(t, s.glob(t.Glob))
	}
	var failed string
	for _, name := range append(t.File, t.Key...) {
		b, err := s.tree.ReadFile(name, maxTested)
		switch {
		case droveway.Is(err, droveway.NotFound):
			continue
		case err != nil:
			failed = err.Error()
			continue
		}
		if len(t.Key) > 0 {
			return pick(t, lookUp(string(b), t.Word))
		}
		if v := pick(t, []string{string(b)}); !v.Absent() {
			return v
		}
	}
	return identify.Value{Error: failed}
}

func pick(t identify.Test, from []string) identify.Value {
	var v identify.Value
	for _, f := range from {
		if got, ok := t.Pick(f); ok && len(v.Values) < maxValues {
			got = strings.TrimSpace(got)
			v.Values = append(v.Values, strings.ToValidUTF8(got[:min(len(got), maxValue)], "?"))
		}
	}
	return v
}

func (s *inspection) glob(patterns []string) []string {
	var names []string
	for _, p := range patterns {
		for _, full := range s.tree.Glob(p) {
			names = append(names, path.Base(full))
		}
	}
	return names
}

// lookUp finds KEY=VALUE, as in a shell script.
func lookUp(text, key string) []string {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.TrimPrefix(k, "export ") == key {
			return []string{strings.Trim(strings.TrimSpace(v), `"'`)}
		}
	}
	return nil
}

// fact gives what the inspection knows by itself.
func (s *inspection) fact(name string) []string {
	var all []string
	switch name {
	case "table":
		return []string{s.report.Disk.Kind}
	case "boot-code":
		return []string{s.report.Disk.BootCode}
	case "root-filesystem":
		for _, v := range s.volumes {
			if v.Mount == "/" {
				return []string{v.Kind}
			}
		}
		for _, v := range s.volumes {
			if v.Kind == "ufs" {
				return []string{v.Kind}
			}
		}
	case "partition-types":
		for _, p := range s.report.Disk.Parts {
			all = append(all, p.Type)
		}
	case "partition-names":
		for _, p := range s.report.Disk.Parts {
			all = append(all, p.Name)
		}
		return []string{strings.Join(all, " ")}
	}
	return append(all, s.windowsFact(name)...)
}
