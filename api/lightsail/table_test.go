package lightsail

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/lightsail/wire"
)

// TestTargetsAreAnswered: what a client can ask for by its shapes, the table has.
func TestTargetsAreAnswered(t *testing.T) {
	files, err := filepath.Glob("wire/*.go")
	if err != nil {
		t.Fatal(err)
	}
	prefixes := map[string]string{"lightsail": targetLightsail, "openIMDS": "OpenIMDS_20261122."}
	targets, seen := table(), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\((lightsail|openIMDS) \+ "(\w+)"\)`).FindAllStringSubmatch(string(text), -1) {
			seen++
			if targets[prefixes[m[1]]+m[2]].request == nil {
				t.Errorf("%s: nothing answers %s", file, m[2])
			}
		}
	}
	if built := len(lightsailActions()) + len(openIMDSActions()); seen != built {
		t.Errorf("%d targets have shapes, %d are built", seen, built)
	}
}

// TestReadmeCounts: README says how many operations of Lightsail's are built.
func TestReadmeCounts(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Amazon Lightsail's: %d operations", len(lightsailActions())); !strings.Contains(string(text), want) {
		t.Errorf("README does not say %q", want)
	}
}

// TestDivergencesNameOwnTargets: whoever reads where this is not Lightsail finds each operation that Lightsail does
// not have, and no other.
func TestDivergencesNameOwnTargets(t *testing.T) {
	text, err := os.ReadFile("../../docs/DIVERGENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Operations of its own\n")
	section, _, _ = strings.Cut(section, "\n## ")
	named := map[string]bool{}
	for line := range strings.Lines(section) {
		if row, ok := strings.CutPrefix(line, "| "); ok && !strings.HasPrefix(row, "Operation ") {
			names, _, _ := strings.Cut(row, " |")
			for name := range strings.SplitSeq(names, ", ") {
				named[name] = true
			}
		}
	}
	for _, own := range openIMDSActions() {
		if name := operationName(own.target); !named[name] {
			t.Errorf("docs/DIVERGENCES.md does not name %s", name)
		} else {
			delete(named, name)
		}
	}
	for name := range named {
		t.Errorf("docs/DIVERGENCES.md names %s, which is not built", name)
	}
}

// TestListsHavePages: whatever takes a page's token can be read to its end.
func TestListsHavePages(t *testing.T) {
	lists := 0
	for target, act := range table() {
		if act.request == nil {
			continue
		}
		_, takes := act.request.FieldByName("PageToken")
		_, gives := act.result.FieldByName("NextPageToken")
		if !takes && !gives {
			continue
		}
		lists++
		from, ok := act.request.MethodByName("From")
		if !takes || !gives || !ok || from.Type.Out(0) != act.request || !act.result.Implements(reflect.TypeFor[wire.Page]()) {
			t.Errorf("%s: the pages of its list cannot be followed", target)
		}
	}
	if lists == 0 {
		t.Error("no operation has pages")
	}
}
