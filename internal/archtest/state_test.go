package archtest

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// State belongs to values that somebody made and handed on, never to a package:
// two of anything must be able to live in one process. What is allowed at package
// level are errors, patterns, embedded files and tables that nobody writes to.
func TestNoPackageState(t *testing.T) {
	t.Parallel()
	var problems []string
	for _, files := range packages(source(t)) {
		problems = append(problems, mutable(files)...)
	}
	report(t, problems)
}

// mutable finds the variables of a package that could be its state: those with
// a suspicious beginning, and those that are written to or whose address is
// taken.
func mutable(files []file) (found []string) {
	names := resolve(files)
	for _, f := range files {
		for _, v := range variables(f) {
			for i, name := range v.Names {
				if name.Name != "_" && !harmless(v, i) {
					found = append(found, f.line(name)+": variable "+name.Name+" of the package can hold state")
				}
			}
		}
		found = append(found, writes(f, names)...)
	}
	return found
}

// resolve finds out what each name of a package stands for. What other packages
// declare is not looked at, and does not matter here.
func resolve(files []file) *types.Info {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	var parsed []*ast.File
	for _, f := range files {
		parsed = append(parsed, f.ast)
	}
	nothing := types.Config{Importer: nowhere{}, Error: func(error) {}}
	_, _ = nothing.Check("p", files[0].set, parsed, info) // fails for want of the imports
	return info
}

// nowhere imports nothing.
type nowhere struct{}

func (nowhere) Import(string) (*types.Package, error) { return nil, errors.New("not looked at") }

func variables(f file) (all []*ast.ValueSpec) {
	for _, d := range f.ast.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			if s, ok := s.(*ast.ValueSpec); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// harmless reports whether a variable begins as something that does not change
// by itself.
func harmless(v *ast.ValueSpec, i int) bool {
	if len(v.Values) <= i {
		_, array := v.Type.(*ast.ArrayType)
		return array && v.Type.(*ast.ArrayType).Len != nil || named(v.Type) == "embed.FS"
	}
	return constant(v.Values[i])
}

// makers are functions whose results nobody can change.
func makers() []string {
	return []string{
		"errors.New", "fmt.Errorf", "droveway.Errorf", "Errorf", "regexp.MustCompile",
		"netip.MustParsePrefix", "netip.MustParseAddr", "netip.AddrFrom4", "netip.PrefixFrom", "time.Date",
	}
}

func constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.CompositeLit, *ast.FuncLit, *ast.Ident, *ast.SelectorExpr, *ast.BinaryExpr:
		return true
	case *ast.CallExpr:
		_, conversion := e.Fun.(*ast.ArrayType) // []byte("…")
		return conversion || slices.Contains(makers(), named(e.Fun))
	}
	return false
}

// named is the name of a type or a function, as embed.FS; empty if it has none.
func named(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return strings.TrimPrefix(named(e.X)+"."+e.Sel.Name, ".")
	}
	return ""
}

// writes finds where variables of the package are written to.
func writes(f file, names *types.Info) (found []string) {
	check := func(e ast.Expr) {
		if id := root(e); id != nil && ofPackage(names.Uses[id]) {
			found = append(found, f.line(e)+": variable "+id.Name+" of the package is changed here")
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				check(e)
			}
		case *ast.IncDecStmt:
			check(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				check(n.X)
			}
		case *ast.CallExpr:
			if fn := named(n.Fun); (fn == "delete" || fn == "clear") && len(n.Args) > 0 {
				check(n.Args[0])
			}
		}
		return true
	})
	return found
}

// root is the variable that an expression is part of, as x in x.y[z].
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func ofPackage(o types.Object) bool {
	v, ok := o.(*types.Var)
	return ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope()
}
