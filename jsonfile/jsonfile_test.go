package jsonfile_test

import (
	"runtime"
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

// TestLongNames: a file takes memory by its length, whatever stands around what. The way to each of these values is
// half a megabyte long, so that to keep all of them would take 50 GB.
func TestLongNames(t *testing.T) {
	name := strings.Repeat("n", 512<<10)
	text := []byte(`{"` + name + `":[` + strings.Repeat("0,", 100_000) + `{"twice":1,"twice":2}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := jsonfile.Parse(text)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 100<<20 {
		t.Errorf("a file of %d bytes took %d", len(text), grown)
	}
	if err == nil || len(err.Error()) > 400 || !strings.Contains(err.Error(), "this key is there twice") {
		t.Errorf("the error is %.1000v", err)
	}
	_, err = jsonfile.Parse([]byte(`{"a":[0,{"b":{"c":1,"c":2}}]}`))
	if err == nil || err.Error() != "line 1: a[1].b.c: this key is there twice" {
		t.Error(err)
	}
}
