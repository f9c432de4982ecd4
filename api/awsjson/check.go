package awsjson

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What an API's model says of a member stands in its type: types with one of these methods put a
// constraint on their values, and the tag check:"required" on a member asks that it is there. Rules
// that need more than the value are the service's.
type (
	// Enumerated values are one of a set.
	Enumerated interface{ Values() []string }
	// Caseless values are of a set as well, and are taken in capitals, too, as AWS's own examples write them.
	Caseless interface {
		Enumerated
		Caseless()
	}
	// Bounded numbers lie within a range, both ends included.
	Bounded interface{ Bounds() (least, most int) }
	// Formed texts match a pattern.
	Formed interface{ Form() *regexp.Regexp }
)

// maxViolations is how many violated constraints one answer tells.
const maxViolations = 10

// Invalid says which constraints of the API's model a request violates, in the text of AWS's JSON services.
type Invalid struct{ Message string }

// Error is the message.
func (e *Invalid) Error() string { return e.Message }

// Check refuses a request that violates a constraint: a [*Invalid].
func Check(request any) error {
	var c checker
	c.structure(reflect.ValueOf(request).Elem(), "")
	if len(c.violations) == 0 {
		return nil
	}
	noun := "errors"
	if len(c.violations) == 1 {
		noun = "error"
	}
	return &Invalid{fmt.Sprintf("%d validation %s detected: %s", len(c.violations), noun, strings.Join(c.violations, "; "))}
}

type checker struct{ violations []string }

func (c *checker) violated(path, value, must string, args ...any) {
	if len(c.violations) < maxViolations {
		c.violations = append(c.violations, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: Member must ", value, path)+fmt.Sprintf(must, args...))
	}
}

func (c *checker) structure(v reflect.Value, path string) {
	for i := range v.NumField() {
		f, member := v.Type().Field(i), v.Field(i)
		at := path + MemberName(f)
		if refused, ok := member.Interface().(Unbuilt); ok {
			if refused {
				c.violated(at, "given", "not be set: openimds does not carry it out")
			}
			continue
		}
		// An empty text is taken for a missing one: no member that is required may be empty.
		if IsRequired(f) && (member.Kind() == reflect.Slice && member.IsNil() || member.Kind() != reflect.Slice && member.IsZero()) {
			c.violated(at, "null", "not be null")
			continue
		}
		c.value(member, at)
	}
}

// IsRequired says whether a request has to have the member of a structure.
func IsRequired(f reflect.StructField) bool { return f.Tag.Get("check") == "required" }

func (c *checker) value(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if v.Elem().Kind() == reflect.String { // there, even if it is empty
			c.text(v.Elem(), path)
			return
		}
		c.value(v.Elem(), path)
	case reflect.Slice:
		for i := range v.Len() {
			c.value(v.Index(i), path+"."+strconv.Itoa(i+1)+".member")
		}
	case reflect.Struct:
		if _, isTime := v.Interface().(Epoch); !isTime {
			c.structure(v, path+".")
		}
	case reflect.String:
		if v.Len() > 0 {
			c.text(v, path)
		}
	case reflect.Int:
		c.number(v, path)
	}
}

func (c *checker) text(v reflect.Value, path string) {
	quoted := fmt.Sprintf("'%.100s'", v.String())
	if e, ok := v.Interface().(Enumerated); ok && !slices.Contains(e.Values(), v.String()) {
		c.violated(path, quoted, "satisfy enum value set: [%s]", strings.Join(e.Values(), ", "))
	}
	if f, ok := v.Interface().(Formed); ok && !f.Form().MatchString(v.String()) {
		c.violated(path, quoted, "satisfy regular expression pattern: %s", f.Form())
	}
}

func (c *checker) number(v reflect.Value, path string) {
	b, ok := v.Interface().(Bounded)
	if !ok {
		return
	}
	n, quoted := int(v.Int()), fmt.Sprintf("'%d'", v.Int())
	if least, most := b.Bounds(); n < least {
		c.violated(path, quoted, "have value greater than or equal to %d", least)
	} else if n > most {
		c.violated(path, quoted, "have value less than or equal to %d", most)
	}
}
