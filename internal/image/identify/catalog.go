package identify

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v2"

	"github.com/droveway/droveway"
)

//go:embed data/*.yaml
var embedded embed.FS

// Catalog is the identification vectors of all known systems.
type Catalog struct {
	tests    map[string]Test
	systems  []system
	patterns map[string]*pattern
}

// system is one identification vector.
type system struct {
	id, name, distro, version string
	must, mustNot             []feature
	features                  []feature
	exact                     []string
	fallback                  bool
}

// feature is a value of a test that speaks for a system.
type feature struct {
	test   string
	is     *pattern
	weight float64
}

func (c *Catalog) pattern(text string) *pattern {
	if c.patterns[text] == nil {
		c.patterns[text] = &pattern{text: text}
	}
	return c.patterns[text]
}

// The shape of a data file.
type (
	file struct {
		Distro   string          `yaml:"distro"`
		Fallback bool            `yaml:"fallback"`
		Exact    []string        `yaml:"exact"`
		Tests    map[string]Test `yaml:"tests"`
		Must     []condition     `yaml:"must"`
		MustNot  []condition     `yaml:"mustNot"`
		Features []condition     `yaml:"features"`
		Versions []version       `yaml:"versions"`
	}
	condition struct {
		Test   string  `yaml:"test"`
		Is     string  `yaml:"is"`
		Weight float64 `yaml:"weight"`
	}
	version struct {
		ID       string            `yaml:"id"`
		Name     string            `yaml:"name"`
		Vars     map[string]string `yaml:"vars"`
		Features []condition       `yaml:"features"`
		MustNot  []condition       `yaml:"mustNot"`
	}
)

// Default is the catalog that comes with the program.
func Default() (*Catalog, error) {
	data, err := fs.Sub(embedded, "data")
	if err != nil {
		return nil, err
	}
	c := newCatalog()
	return c, c.add(data)
}

func newCatalog() *Catalog {
	return &Catalog{tests: map[string]Test{}, patterns: map[string]*pattern{}}
}

// Add takes every *.yaml of a folder into the catalog. A file that is wrong is
// Invalid, and leaves the catalog unfit for use.
func (c *Catalog) Add(dir fs.FS) error {
	if err := c.add(dir); err != nil {
		return err
	}
	return c.check()
}

// check compiles all patterns.
func (c *Catalog) check() error {
	for _, p := range c.patterns {
		if err := p.compile(); err != nil {
			return droveway.Errorf(droveway.Invalid, "identification files: %w", err)
		}
	}
	return nil
}

func (c *Catalog) add(dir fs.FS) error {
	names, err := fs.Glob(dir, "*.yaml")
	if err != nil {
		return err
	}
	var files []file
	for _, name := range names {
		f, err := read(dir, name)
		if err == nil {
			err = c.addTests(f)
		}
		if err != nil {
			return droveway.Errorf(droveway.Invalid, "identification file %s: %w", name, err)
		}
		files = append(files, f)
	}
	for i, f := range files { // only now, as they use each other's tests
		if err := c.addSystems(f); err != nil {
			return droveway.Errorf(droveway.Invalid, "identification file %s: %w", names[i], err)
		}
	}
	return nil
}

func read(dir fs.FS, name string) (file, error) {
	var f file
	b, err := fs.ReadFile(dir, name)
	if err != nil {
		return f, err
	}
	return f, yaml.UnmarshalStrict(b, &f)
}

func (c *Catalog) addTests(f file) error {
	for name, t := range f.Tests {
		t.Name = name
		kinds := 0
		for _, given := range []bool{t.Fact != "", len(t.Glob) > 0, len(t.File) > 0, len(t.Key) > 0 && t.Word != ""} {
			if given {
				kinds++
			}
		}
		if kinds != 1 {
			return fmt.Errorf("test %s: give one of fact, glob, file, or key with word", name)
		}
		if _, twice := c.tests[name]; twice {
			return fmt.Errorf("test %s: it is there already: give it another name", name)
		}
		if t.Match != "" {
			re, err := regexp.Compile(t.Match)
			if err != nil {
				return fmt.Errorf("test %s: %w", name, err)
			}
			t.match = re
		}
		c.tests[name] = t
	}
	return nil
}

func (c *Catalog) addSystems(f file) error {
	for _, v := range f.Versions {
		s := system{id: v.ID, name: v.Name, distro: f.Distro, version: v.Vars["version"], exact: f.Exact, fallback: f.Fallback}
		if v.ID == "" || v.Name == "" || f.Distro == "" {
			return fmt.Errorf("version %q: distro, id and name must be given", v.ID)
		}
		if slices.ContainsFunc(c.systems, func(o system) bool { return o.id == v.ID }) {
			return fmt.Errorf("%s: it is there already", v.ID)
		}
		var err error
		for _, part := range []struct {
			to   *[]feature
			from []condition
		}{{&s.must, f.Must}, {&s.mustNot, slices.Concat(f.MustNot, v.MustNot)}, {&s.features, slices.Concat(f.Features, v.Features)}} {
			if *part.to, err = c.compile(part.from, v.Vars); err != nil {
				return fmt.Errorf("%s: %w", v.ID, err)
			}
		}
		c.systems = append(c.systems, s)
	}
	return nil
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

func (c *Catalog) compile(from []condition, vars map[string]string) ([]feature, error) {
	var out []feature
	for _, k := range from {
		if _, known := c.tests[k.Test]; !known {
			return nil, fmt.Errorf("test %q is not defined", k.Test)
		}
		text, whole := expand(k.Is, vars)
		if !whole {
			continue
		}
		out = append(out, feature{test: k.Test, is: c.pattern(text), weight: k.Weight})
	}
	return out, nil
}

// expand puts variables in, with dots of their values quoted.
func expand(s string, vars map[string]string) (string, bool) {
	whole := true
	s = variable.ReplaceAllStringFunc(s, func(m string) string {
		v, ok := vars[m[2:len(m)-1]]
		whole = whole && ok
		return strings.ReplaceAll(v, ".", `\.`)
	})
	return s, whole
}

// Tests lists the tests, the cheap ones first: what is known already, names,
// then contents of files.
func (c *Catalog) Tests() []Test {
	var all []Test
	for _, t := range c.tests {
		all = append(all, t)
	}
	sort.Slice(all, func(i, j int) bool {
		if a, b := all[i].cost(), all[j].cost(); a != b {
			return a < b
		}
		return all[i].Name < all[j].Name
	})
	return all
}

func (t *Test) cost() int {
	switch {
	case t.Dear:
		return 3
	case t.Fact != "":
		return 0
	case len(t.Glob) > 0:
		return 1
	}
	return 2
}
