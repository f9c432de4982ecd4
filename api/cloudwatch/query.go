package cloudwatch

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
)

// query is a form: the members of a request by their paths, such as Dimensions.member.1.Name.
type query map[string][]string

func malformed(format string, args ...any) error {
	return &awsjson.Malformed{Message: fmt.Sprintf(format, args...)}
}

// check refuses a parameter that is there twice, of which two readers could take two values.
func (q query) check() error {
	for name, values := range q {
		if len(values) > 1 {
			return malformed("The member '%.100s' occurs twice", name)
		}
		if !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return malformed("The request's body is not a form in UTF-8")
		}
	}
	return nil
}

func (q query) get(name string) string {
	if values := q[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// operation is the one that the query names, of this version of the API.
func (q query) operation() (string, error) {
	name, version := q.get("Action"), q.get("Version")
	if name == "" {
		return "", &failure{status: 400, code: "MissingAction", shape: "MissingAction", message: "The request must contain the parameter Action"}
	}
	if version != wire.Version {
		return "", &failure{status: 400, code: "InvalidAction", shape: "InvalidAction",
			message: fmt.Sprintf("Could not find operation %.100s for version %.20s", name, version)}
	}
	return name, nil
}

// json writes the query as the JSON of a request, whose types say what a parameter's text stands for.
func (q query) json(request any) ([]byte, error) {
	root, room := &node{}, maxParts
	for _, name := range sortedNames(q) {
		if name == "Action" || name == "Version" {
			continue
		}
		if err := root.put(name, q[name][0], &room); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	err := root.write(&b, reflect.TypeOf(request).Elem(), "")
	return b.Bytes(), err
}

func sortedNames(q query) []string {
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// node is a value of a query, or what has values in it.
type node struct {
	text  *string
	names []string
	parts map[string]*node
}

// maxNesting bounds the nesting of names; requests have seven.
const maxNesting = 16

// put lays a value at its path, which may take parts of the room.
func (n *node) put(path, text string, room *int) error {
	parts := strings.Split(path, ".")
	if len(parts) > maxNesting {
		return malformed("The request is nested too deeply")
	}
	for _, part := range parts {
		if n.text != nil {
			return malformed("The member '%.100s' is a value and has members", path)
		}
		next := n.parts[part]
		if next == nil {
			if *room--; *room < 0 {
				return malformed("The names of the request's parameters have more than %d parts", maxParts)
			}
			if n.parts == nil {
				n.parts = map[string]*node{}
			}
			next = &node{}
			n.parts[part] = next
			n.names = append(n.names, part)
		}
		n = next
	}
	if n.parts != nil {
		return malformed("The member '%.100s' is a value and has members", path)
	}
	n.text = &text
	return nil
}

// write writes a value of that type; at is its path.
func (n *node) write(b *bytes.Buffer, t reflect.Type, at string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[awsjson.Unbuilt]():
		if n.text != nil && *n.text == "" {
			b.WriteString("[]") // an empty list
		} else {
			b.WriteString("{}")
		}
		return nil
	case t == reflect.TypeFor[awsjson.Epoch]():
		return n.moment(b, at)
	case t.Kind() == reflect.Struct:
		return n.structure(b, t, at)
	case t.Kind() == reflect.Slice:
		return n.list(b, t, at)
	case n.text == nil:
		return malformed("Start of structure or map found where not expected.")
	}
	return n.scalar(b, t, at)
}

func (n *node) structure(b *bytes.Buffer, t reflect.Type, at string) error {
	if n.text != nil {
		return malformed("Expected structure or null at '%.100s'", at)
	}
	b.WriteByte('{')
	for i, name := range n.names {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted(b, name)
		b.WriteByte(':')
		member, known := memberOf(t, name)
		if !known { // the reader knows what to say of it
			b.WriteString("null")
			continue
		}
		if err := n.parts[name].write(b, member.Type, at+name+"."); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func memberOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); awsjson.MemberName(f) == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// list writes the items member.1, member.2 and so on, without a gap.
func (n *node) list(b *bytes.Buffer, t reflect.Type, at string) error {
	if n.text != nil {
		if *n.text != "" {
			return malformed("Expected list or null at '%.100s'", at)
		}
		b.WriteString("[]")
		return nil
	}
	items := n.parts["member"]
	if items == nil || len(n.names) != 1 || items.text != nil {
		return malformed("The items of the list '%.100s' are called member.1, member.2 and so on", strings.TrimSuffix(at, "."))
	}
	b.WriteByte('[')
	for i := range items.names {
		item := items.parts[strconv.Itoa(i+1)]
		if item == nil {
			return malformed("The items of the list '%.100s' are called member.1, member.2 and so on", strings.TrimSuffix(at, "."))
		}
		if i > 0 {
			b.WriteByte(',')
		}
		if err := item.write(b, t.Elem(), at); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// numberForm is what JSON takes for a number.
var numberForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func (n *node) scalar(b *bytes.Buffer, t reflect.Type, at string) error {
	text := *n.text
	switch t.Kind() {
	case reflect.String:
		quoted(b, text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return malformed("The value of '%.100s' is no truth value", strings.TrimSuffix(at, "."))
		}
		b.WriteString(text)
	default:
		if !numberForm.MatchString(text) {
			return malformed("The value of '%.100s' is no number", strings.TrimSuffix(at, "."))
		}
		b.WriteString(text)
	}
	return nil
}

func (n *node) moment(b *bytes.Buffer, at string) error {
	if n.text == nil {
		return malformed("Start of structure or map found where not expected.")
	}
	t, err := time.Parse(time.RFC3339, *n.text)
	if err != nil {
		return malformed("The value of '%.100s' is no time such as 2026-12-01T12:00:00Z", strings.TrimSuffix(at, "."))
	}
	text, err := awsjson.Epoch{Time: t}.MarshalJSON()
	b.Write(text)
	return err
}

// quoted writes a text as JSON.
func quoted(b *bytes.Buffer, text string) {
	quoted, _ := awsjson.Marshal(text)
	b.Write(quoted)
}
