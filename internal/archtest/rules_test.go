package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is how long a file may be. One that comes near it has more than one
// idea.
const maxLines = 500

// rules are what every single file must keep. Each gives the places where it is
// not kept.
func rules() map[string]func(file) []string {
	return map[string]func(file) []string{
		"length":      tooLong,
		"skip":        skips,
		"init":        inits,
		"later":       leftForLater,
		"constraints": constraints,
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	files := source(t)
	for name, rule := range rules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var problems []string
			for _, f := range files {
				problems = append(problems, rule(f)...)
			}
			report(t, problems)
		})
	}
}

func tooLong(f file) []string {
	if n := strings.Count(f.text, "\n"); n > maxLines {
		return []string{fmt.Sprintf("%s has %d lines: divide it, at most %d", f.path, n, maxLines)}
	}
	return nil
}

// skips finds tests that leave themselves out: a test that cannot run where it
// is run belongs behind the build tag lab, where everything runs.
func skips(f file) (found []string) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := s.X.(*ast.Ident)
		skip := ok && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name)
		if skip || ok && x.Name == "testing" && s.Sel.Name == "Short" {
			found = append(found, f.line(n)+": a test that skips proves nothing")
		}
		return true
	})
	return found
}

func inits(f file) (found []string) {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, f.line(fn)+": init acts before anybody asked: let New do it")
		}
	}
	return found
}

// leftForLater finds the words that promise work. They are put together here,
// for this file is read too.
func leftForLater(f file) (found []string) {
	words := regexp.MustCompile(`\b(?:TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if words.MatchString(c.Text) {
				found = append(found, f.line(c)+": do it, or say it in an issue: "+c.Text)
			}
		}
	}
	return found
}

// constraints finds build constraints. The program is for Linux, so that tests of the
// lab, and of them those that repair whole disks, are
// all that may be left out of a build.
func constraints(f file) (found []string) {
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if tags, ok := strings.CutPrefix(c.Text, "//go:build "); ok && tags != "lab" && tags != "lab && repair" {
				found = append(found, f.line(c)+": build constraint "+tags)
			}
		}
	}
	return found
}

// Every package says what it is, and is called after that.
func TestPackages(t *testing.T) {
	t.Parallel()
	for dir, files := range packages(source(t)) {
		if !slices.ContainsFunc(files, func(f file) bool { return f.ast.Doc.Text() != "" }) {
			t.Errorf("package %s has no comment: say what it is and what it may touch", dir)
		}
		for _, name := range []string{path.Base(dir), files[0].ast.Name.Name} {
			if vague(name) {
				t.Errorf("package %s is called after what it is made of: call it after what it is for", dir)
			}
		}
	}
}

func vague(name string) bool {
	return slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "shared"}, name)
}

// The nouns are the program's vocabulary: none goes unexplained.
func TestNounsAreDocumented(t *testing.T) {
	t.Parallel()
	for _, f := range packages(source(t))["."] {
		report(t, undocumented(f))
	}
}

// undocumented finds exported types, functions and methods without a comment.
func undocumented(f file) (found []string) {
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc.Text() == "" && !wellKnown(d) {
				found = append(found, f.line(d)+": "+d.Name.Name+" has no comment")
			}
		case *ast.GenDecl:
			found = append(found, undocumentedTypes(f, d)...)
		}
	}
	return found
}

// wellKnown reports whether a method means the same everywhere.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "String")
}

func undocumentedTypes(f file, d *ast.GenDecl) (found []string) {
	if d.Tok != token.TYPE {
		return nil
	}
	for _, s := range d.Specs {
		s, ok := s.(*ast.TypeSpec)
		if ok && s.Name.IsExported() && s.Doc.Text() == "" && (d.Lparen.IsValid() || d.Doc.Text() == "") {
			found = append(found, f.line(s)+": type "+s.Name.Name+" has no comment")
		}
	}
	return found
}

// A rule that finds nothing anywhere might be broken: each must find what it is
// for, and leave its neighbour alone.
func TestRulesFind(t *testing.T) {
	t.Parallel()
	later := "TO" + "DO"
	tests := []struct {
		name string
		rule func(file) []string
		text string
		want int
	}{
		{"long", tooLong, "package p\n" + strings.Repeat("\n", maxLines), 1},
		{"as long as may be", tooLong, "package p\n" + strings.Repeat("\n", maxLines-1), 0},
		{"skip", skips, "package p\nfunc TestX(t *testing.T) { t.Skip(); t.Skipf(``); if testing.Short() { t.SkipNow() } }", 4},
		{"another Skip", skips, "package p\nfunc f(d decoder) { d.Skip() }", 0},
		{"init", inits, "package p\nfunc init() {}", 1},
		{"a method", inits, "package p\nfunc (x) init() {}", 0},
		{"later", leftForLater, "package p\n// " + later + ": more\nfunc f() {} /* FIX" + "ME */", 2},
		{"later in a name", leftForLater, "package p\n// List" + later + "s.\nconst s = `" + later + "`", 0},
		{"constraint", constraints, "//go:build linux\n\npackage p", 1},
		{"lab", constraints, "//go:build lab\n\npackage p", 0},
		{"repair", constraints, "//go:build lab && repair\n\npackage p", 0},
		{"comments missing", undocumented, "package p\ntype X int\nfunc F() {}\nfunc (X) M() {}\ntype (\n\tY int\n)", 4},
		{"comments", undocumented, "package p\n// X is.\ntype X int\n// F does.\nfunc F() {}\nfunc (X) String() string {}\ntype y int", 0},
		{"state", state, "package p\nvar a int\nvar b = &T{}\nvar c = map[string]int{}\nvar d = New()\nvar e sync.Mutex\nfunc f() { c[``]++ }", 5},
		{"state behind a pointer", state, "package p\nvar a = [1]int{}\nfunc f() { g(&a) }", 1},
		{"no state", state, "package p\nvar a = errors.New(``)\nvar b = regexp.MustCompile(``)\nvar c = map[string]int{}\n//go:embed x\nvar d embed.FS\nvar _ I = (*T)(nil)\nvar e [4]byte\nfunc f() { c := 1; c++; a := c; _ = a }", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := parse(token.NewFileSet(), "p/p.go", tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.rule(f); len(got) != tt.want {
				t.Errorf("found %d, want %d: %q", len(got), tt.want, got)
			}
		})
	}
	if !vague("util") || vague("utilization") {
		t.Error("names")
	}
}

func state(f file) []string { return mutable([]file{f}) }
