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
	key  string // from the top of the file: "metadata.values.mac", "items[3].path"
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
	return p.value("", "")
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

func (p *parser) value(name, key string) (*Value, error) {
	token := p.walk.Next()
	v := &Value{Name: name, line: p.here(), key: key, data: token}
	var err error
	switch token {
	case json.Delim('['):
		items := list{}
		err = p.walk.Items(func() error {
			item, err := p.value("", key+"["+strconv.Itoa(len(items))+"]")
			items = append(items, item)
			return err
		})
		v.data = items
	case json.Delim('{'):
		members := object{}
		err = p.walk.Members(func(name string) error {
			line := p.here()
			member, err := p.value(name, below(key, name))
			if err == nil {
				member.line = line // where it stands is where its name stands
			}
			members = append(members, member)
			return err
		})
		v.data = members
	}
	if twice, ok := errors.AsType[*strictjson.TwiceError](err); ok {
		again := &Value{line: p.here(), key: below(key, twice.Name)}
		return nil, again.Errorf("this key is there twice")
	}
	if errors.Is(err, strictjson.ErrTooDeep) {
		return nil, v.Errorf("this is nested too deeply")
	}
	return v, err
}

// below is the way to a member of the value at key.
func below(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// Line is the line that the value, or its name, stands on; the first is 1.
func (v *Value) Line() int { return v.line }

// Key is the way to the value from the top of the file: "metadata.values.mac".
func (v *Value) Key() string { return v.key }

// Errorf makes an error that says where the value stands.
func (v *Value) Errorf(format string, args ...any) error {
	where := fmt.Sprintf("line %d: ", v.line)
	if v.key != "" {
		where += strings.Trim(strconv.Quote(v.key), `"`) + ": "
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
