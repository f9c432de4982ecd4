package advice

import (
	"strings"
	"testing"
)

// The table says of each line what its kind needs, and names nothing twice.
func TestTable(t *testing.T) {
	names := map[string]string{}
	for _, one := range table {
		for _, p := range append(append([]string{}, one.products...), one.programs...) {
			if p != strings.ToLower(p) {
				t.Errorf("%s: %q is not found", one.name, p)
			}
		}
		for _, p := range one.products {
			if names[p] != "" {
				t.Errorf("%q is %s and %s", p, names[p], one.name)
			}
			names[p] = one.name
		}
		if (one.kind == versioned) != (one.since != "") {
			t.Errorf("%s: since %q", one.name, one.since)
		}
		if _, known := before(one.since, "1"); one.since != "" && !known {
			t.Errorf("%s: %q is no version", one.name, one.since)
		}
		if (one.kind == never) != (one.instead != "") || (one.kind == command) != (one.rewrite != nil) {
			t.Errorf("%s has not what its kind needs", one.name)
		}
		if one.source == "" && one.kind != library {
			t.Errorf("%s: who says so?", one.name)
		}
		if one.source != "" && !strings.HasPrefix(one.source, "https://") {
			t.Errorf("%s: %s is no place to look", one.name, one.source)
		}
	}
}
