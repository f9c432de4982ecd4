package jsonfile_test

import (
	"strings"
	"testing"

	"github.com/openimds/openimds/jsonfile"
)

func TestPlaces(t *testing.T) {
	v, err := jsonfile.Parse([]byte("{\n\"a\" :\n {\"b\": [1,\n true, null, \"x\"]}}"))
	if err != nil {
		t.Fatal(err)
	}
	top, _ := v.Known("a")
	a, _ := top["a"].Known("b")
	items, err := a["b"].Items()
	if err != nil || len(items) != 4 {
		t.Fatal(err, items)
	}
	if got := items[1].Errorf("why\t%d", 1).Error(); got != "line 4: a.b[1]: why\t1" {
		t.Error(got)
	}
	if top["a"].Line() != 2 || a["b"].Line() != 3 || a["b"].Key() != "a.b" {
		t.Error(top["a"].Line(), a["b"].Line(), a["b"].Key())
	}
	if n, err := items[0].Int(); err != nil || n != 1 {
		t.Error(n, err)
	}
	if b, err := items[1].Bool(); err != nil || !b {
		t.Error(b, err)
	}
	if s, ok := items[2].Scalar(); ok || !items[2].IsNull() {
		t.Error(s)
	}
	if _, err := items[3].Int(); err == nil || err.Error() != "line 4: a.b[3]: expected a whole number, not a text" {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("{\"a\":[1,{\"\\n\":null}]}"))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := jsonfile.Parse(text)
		if err == nil {
			err = v.Errorf("x")
			if v.Line() > strings.Count(string(text), "\n")+1 {
				t.Errorf("line %d", v.Line())
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("several lines: %q", err)
		}
	})
}
