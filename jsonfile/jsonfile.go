// Package jsonfile reads JSON that people write and carry about: whatever is wrong with such a file
// is said with the line and the key.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/openimds/openimds/strictjson"
)

// Value is one value of a file, and where it stands.
type Value struct {
	// Name is the name that it has in the object around it.
	Name string
	line int
	in   *Value // the object or list that it is of; nil: it is the file
	at   int    // its place in a list
	data any    // string, bool, json.Number, nil, object or list
}

type (
	object []*Value
	list   []*Value
)

// Parse reads a file, which is one value in UTF-8. It is stricter than encoding/json: an object has
// each name once, for of two values the reader and the writer might mean different ones.
func Parse(text []byte) (*Value, error) {
	if !utf8.Valid(text) {
		at := 0
		for at < len(text) {
			r, size := utf8.DecodeRune(text[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return nil, fmt.Errorf("line %d: this is not UTF-8", lineOf(text, at))
	}
	var all json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("line %d: not JSON: %w", lineOf(text, int(e.Offset)-1), err)
		}
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	p := parser{text: text, walk: strictjson.Walk(text), line: 1}
	return p.value(Value{})
}

func lineOf(text []byte, at int) int {
	return 1 + bytes.Count(text[:min(max(at, 0), len(text))], []byte("\n"))
}

// parser reads a file whose syntax was checked before.
type parser struct {
	text []byte
	walk *strictjson.Walker
	at   int // how far lines are counted
	line int
}

// here is the line of the latest token: no token has a line's end in it.
func (p *parser) here() int {
	end := p.walk.Offset()
	p.line += bytes.Count(p.text[p.at:end], []byte("\n"))
	p.at = end
	return p.line
}

// value reads one whose place is given.
func (p *parser) value(place Value) (*Value, error) {
	token := p.walk.Next()
	v := &place
	v.line, v.data = p.here(), token
	var err error
	switch token {
	case json.Delim('['):
		items := list{}
		v.data = items // those that it has ask for it
		err = p.walk.Items(func() error {
			item, err := p.value(Value{in: v, at: len(items)})
			items = append(items, item)
			return err
		})
		v.data = items
	case json.Delim('{'):
		members := object{}
		v.data = members
		err = p.walk.Members(func(name string) error {
			line := p.here()
			member, err := p.value(Value{Name: name, in: v})
			if err == nil {
				member.line = line // where it stands is where its name stands
			}
			members = append(members, member)
			return err
		})
		v.data = members
	}
	if twice, ok := errors.AsType[*strictjson.TwiceError](err); ok {
		again := &Value{Name: twice.Name, in: v, line: p.here()}
		return nil, again.Errorf("this key is there twice")
	}
	if errors.Is(err, strictjson.ErrTooDeep) {
		return nil, v.Errorf("this is nested too deeply")
	}
	return v, err
}

// Line is the line that the value, or its name, stands on; the first is 1.
func (v *Value) Line() int { return v.line }

// Key is the way to the value from the top of the file: "metadata.values.mac", "items[3].path". It is put together when it
// is asked for: of a file with one long name around many values, all their ways would take far more memory than the file.
func (v *Value) Key() string {
	switch {
	case v.in == nil:
		return ""
	case v.in.IsList():
		return v.in.Key() + "[" + strconv.Itoa(v.at) + "]"
	}
	if before := v.in.Key(); before != "" {
		return before + "." + v.Name
	}
	return v.Name
}

// maxKeyShown is how many bytes of a key an error shows.
const maxKeyShown = 300

// Errorf makes an error that says where the value stands.
func (v *Value) Errorf(format string, args ...any) error {
	where := fmt.Sprintf("line %d: ", v.line)
	if key := v.Key(); key != "" {
		if len(key) > maxKeyShown {
			key = strings.ToValidUTF8(key[:maxKeyShown], "") + "…"
		}
		where += strings.Trim(strconv.Quote(key), `"`) + ": "
	}
	return fmt.Errorf(where+"%w", fmt.Errorf(format, args...))
}

// Members are the values of an object, in the order of the file.
func (v *Value) Members() ([]*Value, error) {
	if members, ok := v.data.(object); ok {
		return members, nil
	}
	return nil, v.Errorf("expected an object, not %s", v.kind())
}

// Known are the members of an object that has no others than the names allow.
func (v *Value) Known(names ...string) (map[string]*Value, error) {
	members, err := v.Members()
	if err != nil {
		return nil, err
	}
	known := make(map[string]*Value, len(members))
	for _, m := range members {
		if !slices.Contains(names, m.Name) {
			return nil, m.Errorf("this key is not known here; the keys are %s", strings.Join(names, ", "))
		}
		known[m.Name] = m
	}
	return known, nil
}

// Items are the values of a list.
func (v *Value) Items() ([]*Value, error) {
	if items, ok := v.data.(list); ok {
		return items, nil
	}
	return nil, v.Errorf("expected a list, not %s", v.kind())
}

// Text is the value of a text.
func (v *Value) Text() (string, error) {
	if s, ok := v.data.(string); ok {
		return s, nil
	}
	return "", v.Errorf("expected a text, not %s", v.kind())
}

// Bool is true or false.
func (v *Value) Bool() (bool, error) {
	if b, ok := v.data.(bool); ok {
		return b, nil
	}
	return false, v.Errorf("expected true or false, not %s", v.kind())
}

// Int is a whole number.
func (v *Value) Int() (int, error) {
	n, ok := v.data.(json.Number)
	f, err := n.Float64()
	if !ok || err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, v.Errorf("expected a whole number, not %s", v.kind())
	}
	return int(f), nil
}

// Scalar is a text, a number or a truth value as a text; false: it is none of these.
func (v *Value) Scalar() (string, bool) {
	switch data := v.data.(type) {
	case string:
		return data, true
	case json.Number:
		return data.String(), true
	case bool:
		return strconv.FormatBool(data), true
	}
	return "", false
}

// IsNull says whether the value is null.
func (v *Value) IsNull() bool { return v.data == nil }

// IsObject says whether the value is an object, and IsList whether it is a list.
func (v *Value) IsObject() bool { _, ok := v.data.(object); return ok }

// IsList says whether the value is a list.
func (v *Value) IsList() bool { _, ok := v.data.(list); return ok }

// IsText says whether the value is a text.
func (v *Value) IsText() bool { _, ok := v.data.(string); return ok }

func (v *Value) kind() string {
	switch v.data.(type) {
	case object:
		return "an object"
	case list:
		return "a list"
	case string:
		return "a text"
	case json.Number:
		return "a number"
	case bool:
		return "a truth value"
	}
	return "null"
}
