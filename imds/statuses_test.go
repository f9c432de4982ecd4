package imds

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/openimds/openimds/usage"
)

// TestStatusesAreCounted: whatever this package answers with is counted as itself, and nothing else is.
func TestStatusesAreCounted(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[int]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			// A number that is the status of an answer is one here, wherever it stands.
			if number, ok := n.(*ast.BasicLit); ok && number.Kind == token.INT {
				if status, err := strconv.Atoi(number.Value); err == nil && status >= 200 && http.StatusText(status) != "" {
					sent[status] = f.Name()
				}
			}
			return true
		})
	}
	if len(sent) < 10 {
		t.Fatalf("found only the statuses %v", sent)
	}
	for status := range 600 {
		if file := sent[status]; (file != "") != (usage.StatusText(status) == strconv.Itoa(status)) {
			t.Errorf("%d is sent by %q and counted as %q", status, file, usage.StatusText(status))
		}
	}
}
