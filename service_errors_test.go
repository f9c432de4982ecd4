package openimds_test

import (
	"go/ast"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// everywhere are the errors that any method of Service may come to; the comment of Service tells of them.
var everywhere = []string{
	"InvalidInput/Malformed", "InvalidInput/TooLarge",
	"Internal/Broken", "Unavailable/StoreAway", "Unavailable/Contended", "Unavailable/AuditAway",
}

// handled are the errors that a method meets on its way and does not return.
var handled = map[string][]string{
	"BindAttachments": {"NotFound/DoesNotExist"},  // a face that comes after its instance has gone
	"DefaultKeyPair":  {"InvalidInput/NameTaken"}, // somebody else was faster
	"EndRehearsals":   {"NotFound/DoesNotExist"},  // an instance that has gone
	"EvaluateAlarms":  {"NotFound/DoesNotExist"},  // an alarm or instance that has gone
	"FaultsMet":       {"NotFound/DoesNotExist"},  // an instance that has gone
	"LeaveSeat":       {"NotFound/DoesNotExist"},  // an instance that has gone
	"EndTransition":   {"NotFound/DoesNotExist"},  // what ended without it
	"MarkApplied":     {"NotFound/DoesNotExist"},
	"OperationsOf":    {"NotFound/DoesNotExist"},                            // pruned
	"CreateInstances": {"InvalidInput/Mismatch", "InvalidInput/Terminated"}, // of launches of EC2's
	"RunInstances":    {"InvalidInput/NameTaken"},                           // its ids are new
	"TagResources":    {"InvalidInput/Mismatch"},                            // it is told no ARN
	"UntagResources":  {"InvalidInput/Duplicate", "InvalidInput/OutOfRange", "InvalidInput/Reserved", "InvalidInput/TooMany", "InvalidInput/Mismatch"},
	"UntagResource":   {"InvalidInput/Duplicate", "InvalidInput/OutOfRange", "InvalidInput/Reserved", "InvalidInput/TooMany"}, // of tags that were refused when they came
}

// TestServiceErrors: the comment of a method of Service tells, as Kind/Code, the errors that its code can come to, and
// no others. What a function that the service was given returns is that function's to tell.
func TestServiceErrors(t *testing.T) {
	told := regexp.MustCompile(`\b[A-Z][A-Za-z]+/[A-Z][A-Za-z]+\b`)
	program := typed(t, ".", "./store", "./records", "./control")
	for fn := range program.functions { // a record that is not as it must be is Internal/Broken, whatever is wrong with it
		if fn.Pkg().Name() == "records" {
			delete(program.functions, fn)
		}
	}
	methods := 0
	for fn, decl := range program.functions {
		if decl.Recv == nil || !fn.Exported() || !strings.HasSuffix(fn.Signature().Recv().Type().String(), "control.Service") || !returnsError(fn) {
			continue
		}
		methods++
		can, says := program.errors(fn, map[*types.Func]bool{}), told.FindAllString(decl.Doc.Text(), -1)
		for _, e := range says {
			if !slices.Contains(can, e) || slices.Contains(handled[fn.Name()], e) {
				t.Errorf("no code of Service.%s comes to %s", fn.Name(), e)
			}
		}
		for _, e := range can {
			if !slices.Contains(slices.Concat(says, everywhere, handled[fn.Name()]), e) {
				t.Errorf("the comment of Service.%s does not tell of %s", fn.Name(), e)
			}
		}
	}
	if methods < 40 {
		t.Errorf("found only %d methods", methods)
	}
}

func returnsError(fn *types.Func) bool {
	results := fn.Signature().Results()
	return results.Len() > 0 && results.At(results.Len()-1).Type().String() == "error"
}

// program is some packages of this module with what their names mean, as far as that does not depend on others.
type program struct {
	info      types.Info
	packages  map[string]*types.Package
	functions map[*types.Func]*ast.FuncDecl
}

// typed reads packages, each after those that it imports.
func typed(t *testing.T, pkgs ...string) *program {
	t.Helper()
	p := &program{
		info:      types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}},
		packages:  map[string]*types.Package{},
		functions: map[*types.Func]*ast.FuncDecl{},
	}
	all := goFiles(t)
	config := types.Config{Importer: p, Error: func(error) {}} // of what the packages outside would have told
	for _, pkg := range pkgs {
		var files []*ast.File
		for _, f := range all {
			if f.pkg == pkg && !f.test {
				files = append(files, f.ast)
			}
		}
		at := path.Join(module, pkg)
		p.packages[at], _ = config.Check(at, all[0].fset, files, &p.info)
		for _, file := range files {
			for _, d := range file.Decls {
				if decl, ok := d.(*ast.FuncDecl); ok && decl.Body != nil {
					if fn, ok := p.info.Defs[decl.Name].(*types.Func); ok {
						p.functions[fn] = decl
					}
				}
			}
		}
	}
	return p
}

// Import implements [types.Importer]: packages outside are empty.
func (p *program) Import(at string) (*types.Package, error) {
	if p.packages[at] == nil {
		p.packages[at] = types.NewPackage(at, path.Base(at))
		p.packages[at].MarkComplete()
	}
	return p.packages[at], nil
}

// errors returns, as Kind/Code, what a function and those that it names give to Errorf.
func (p *program) errors(fn *types.Func, seen map[*types.Func]bool) []string {
	if seen[fn] {
		return nil
	}
	seen[fn] = true
	var found []string
	ast.Inspect(p.functions[fn], func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && lastName(call.Fun) == "Errorf" && len(call.Args) >= 3 {
			found = append(found, lastName(call.Args[0])+"/"+lastName(call.Args[1]))
		}
		if id, ok := n.(*ast.Ident); ok {
			if named, ok := p.info.Uses[id].(*types.Func); ok && p.functions[named.Origin()] != nil && named.Name() != "Errorf" {
				found = append(found, p.errors(named.Origin(), seen)...)
			}
		}
		return true
	})
	slices.Sort(found)
	return slices.Compact(found)
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
