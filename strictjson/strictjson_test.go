package strictjson_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds/strictjson"
)

// tree builds what encoding/json would, by a walk.
func tree(w *strictjson.Walker) (any, error) {
	switch token := w.Next(); token {
	case json.Delim('{'):
		object := map[string]any{}
		err := w.Members(func(name string) (err error) { object[name], err = tree(w); return err })
		return object, err
	case json.Delim('['):
		list := []any{}
		err := w.Items(func() error {
			item, err := tree(w)
			list = append(list, item)
			return err
		})
		return list, err
	default:
		return token, nil
	}
}

func TestStrict(t *testing.T) {
	deep := strings.Repeat(`{"a":[`, 16) + "1" + strings.Repeat(`]}`, 16)
	wide := "[" + strings.Repeat(`{"a":[]},`, 100) + "{}]" // the depth is counted down again
	for text, twice := range map[string]string{
		deep: "", wide: "", `1`: "", `{"a":{"b":1},"b":{"a":[{"a":null}]}}`: "",
		`{"a":1,"a":1}`: "a", `[{"b":{"a":1,"\u0061":2}}]`: "a", `{"x":[{"a":[]},{"b":{},"b":{}}]}`: "b",
	} {
		for what, walk := range map[string]func(*strictjson.Walker) error{
			"read":    func(w *strictjson.Walker) error { _, err := tree(w); return err },
			"skipped": func(w *strictjson.Walker) error { return w.Skip(w.Next()) },
		} {
			err := walk(strictjson.Walk([]byte(text)))
			if e, refused := errors.AsType[*strictjson.TwiceError](err); refused != (twice != "") || refused && e.Name != twice || !refused && err != nil {
				t.Errorf("%s, %s: %v, want %q twice", text, what, err, twice)
			}
			if err := walk(strictjson.Walk([]byte("[" + deep + "]"))); !errors.Is(err, strictjson.ErrTooDeep) {
				t.Errorf("33 deep, %s: %v", what, err)
			}
		}
	}
}

// FuzzWalk: a walk that refuses nothing finds what encoding/json finds, and ends at the end.
func FuzzWalk(f *testing.F) {
	f.Add([]byte("{\"a\":[1,{\"\\n\":null}],\"b\" : \"x\"}\n"))
	f.Add([]byte(`[[],{},[{"a":1,"a":2}]]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			return
		}
		w := strictjson.Walk(text)
		got, err := tree(w)
		skipping := strictjson.Walk(text)
		if skipped := skipping.Skip(skipping.Next()); (skipped == nil) != (err == nil) {
			t.Fatalf("read: %v, skipped: %v", err, skipped)
		}
		if err != nil {
			return
		}
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%#v, want %#v, %v", got, want, err)
		}
		for _, end := range []int{w.Offset(), skipping.Offset()} {
			if rest := strings.TrimSpace(string(text[end:])); rest != "" {
				t.Fatalf("%q is left", rest)
			}
		}
	})
}
