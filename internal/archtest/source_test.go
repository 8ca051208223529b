package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/droveway/droveway"

// file is one Go file.
type file struct {
	path string // from the root of the repository
	text string
	set  *token.FileSet
	ast  *ast.File
}

func parse(set *token.FileSet, name, text string) (file, error) {
	a, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return file{path: name, text: text, set: set, ast: a}, err
}

func (f file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f file) dir() string { return path.Dir(f.path) }

// line is where in the file something stands, as file:line.
func (f file) line(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.set.Position(n.Pos()).Line)
}

func (f file) imports() (paths []string) {
	for _, i := range f.ast.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// source reads all Go files of the repository.
func source(t *testing.T) []file {
	t.Helper()
	root := repository(t)
	set := token.NewFileSet()
	var files []file
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && foreign(d.Name()):
			return fs.SkipDir
		case d.IsDir() || path.Ext(p) != ".go":
			return nil
		}
		b, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		f, err := parse(set, p, string(b))
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found: this cannot be all of the repository", len(files))
	}
	return files
}

// foreign reports whether a directory holds no code of the program.
func foreign(name string) bool {
	return name != "." && strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"
}

func repository(t *testing.T) fs.FS {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return os.DirFS(dir)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// packages sorts files by directory, tests left out.
func packages(files []file) map[string][]file {
	all := map[string][]file{}
	for _, f := range files {
		if !f.test() {
			all[f.dir()] = append(all[f.dir()], f)
		}
	}
	return all
}

// report fails the test with each problem, in order.
func report(t *testing.T, problems []string) {
	t.Helper()
	slices.Sort(problems)
	for _, p := range slices.Compact(problems) {
		t.Error(p)
	}
}
