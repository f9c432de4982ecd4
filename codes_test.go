package openimds_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// TestCodes: who makes an error gives it a code of the list, by its name; no code is without a meaning or a use. What
// builds an error without Errorf could leave all that out.
func TestCodes(t *testing.T) {
	documented, used := map[string]bool{}, map[string]bool{}
	files := goFiles(t)
	for _, f := range files {
		if f.path == "codes.go" {
			for name, doc := range constants(f.ast, "Code") {
				documented[name] = strings.HasPrefix(doc, name+": ")
			}
		}
	}
	for _, f := range files {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if name := wordAt(f, n.Type); name == "Error" && f.path != "errors.go" {
					t.Errorf("%s builds an Error: make it by Errorf, with a code", f.fset.Position(n.Pos()))
				}
			case *ast.CallExpr:
				if wordAt(f, n.Fun) != "Errorf" {
					break
				}
				if _, known := documented[wordAt(f, n.Args[1])]; !known && !isParameter(f, n, "Code") {
					t.Errorf("%s: the code of an error is one of codes.go, by its name", f.fset.Position(n.Pos()))
				}
			case ast.Expr:
				if f.path != "codes.go" {
					used[wordAt(f, n)] = true
				}
			}
			return true
		})
	}
	if len(documented) == 0 {
		t.Fatal("found no code")
	}
	for code, ok := range documented {
		if !ok {
			t.Errorf("the comment of the code %s does not begin with %q", code, code+": ")
		}
		if !used[code] {
			t.Errorf("no error has the code %s", code)
		}
	}
}

// TestFields: each field is there for an error.
func TestFields(t *testing.T) {
	used := map[string]bool{}
	var fields []string
	for _, f := range goFiles(t) {
		if f.path == "codes.go" {
			for name := range constants(f.ast, "Field") {
				fields = append(fields, name)
			}
			continue
		}
		if f.test || f.pkg == "./api/lightsail" { // which words what others say
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				used[wordAt(f, e)] = true
			}
			return true
		})
	}
	if len(fields) == 0 {
		t.Fatal("found no field")
	}
	for _, name := range fields {
		if !used[name] {
			t.Errorf("no error is about %s", name)
		}
	}
}

// constants returns the constants of that type, with their comments.
func constants(file *ast.File, of string) map[string]string {
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == of {
				found[v.Names[0].Name] = v.Doc.Text()
			}
		}
		return true
	})
	return found
}

// wordAt returns the name that an expression has in the root package; empty: it is none of there.
func wordAt(f goFile, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		if f.pkg == "." {
			return e.Name
		}
	case *ast.SelectorExpr:
		if of, ok := e.X.(*ast.Ident); ok && of.Name == "openimds" {
			return e.Sel.Name
		}
	}
	return ""
}

// isParameter says whether the code of a call is a parameter of that type of the function around it, whose callers
// then name it.
func isParameter(f goFile, call *ast.CallExpr, of string) bool {
	id, ok := call.Args[1].(*ast.Ident)
	return ok && slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Pos() < call.Pos() && call.End() < fn.End() && slices.ContainsFunc(fn.Type.Params.List, func(p *ast.Field) bool {
			return wordAt(f, p.Type) == of && slices.ContainsFunc(p.Names, func(n *ast.Ident) bool { return n.Name == id.Name })
		})
	})
}
