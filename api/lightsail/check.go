package lightsail

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/openimds/openimds"
)

// What the API model says of a member stands in its type: types with one of these methods put a
// constraint on their values, and the tag check:"required" on a member asks that it is there. Rules
// that need more than the value are the service's.
type (
	// enumerated values are one of a set.
	enumerated interface{ values() []string }
	// bounded numbers lie within a range, both ends included.
	bounded interface{ bounds() (least, most int) }
	// formed texts match a pattern.
	formed interface{ form() *regexp.Regexp }
)

// maxViolations is how many violated constraints one answer tells.
const maxViolations = 10

// check refuses a request that violates a constraint, with the text of AWS's JSON services.
func check(request any) error {
	var c checker
	c.structure(reflect.ValueOf(request).Elem(), "")
	if len(c.violations) == 0 {
		return nil
	}
	noun := "errors"
	if len(c.violations) == 1 {
		noun = "error"
	}
	return openimds.Errorf(openimds.InvalidInput, "", "%d validation %s detected: %s", len(c.violations), noun, strings.Join(c.violations, "; "))
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
		at := path + memberName(f)
		if refused, ok := member.Interface().(unbuilt); ok {
			if refused {
				c.violated(at, "given", "not be set: openimds does not carry it out")
			}
			continue
		}
		// An empty text is taken for a missing one: no member that is required may be empty.
		if isRequired(f) && (member.Kind() == reflect.Slice && member.IsNil() || member.Kind() != reflect.Slice && member.IsZero()) {
			c.violated(at, "null", "not be null")
			continue
		}
		c.value(member, at)
	}
}

func isRequired(f reflect.StructField) bool { return f.Tag.Get("check") == "required" }

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
		if _, isTime := v.Interface().(epoch); !isTime {
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
	if e, ok := v.Interface().(enumerated); ok && !slices.Contains(e.values(), v.String()) {
		c.violated(path, quoted, "satisfy enum value set: [%s]", strings.Join(e.values(), ", "))
	}
	if f, ok := v.Interface().(formed); ok && !f.form().MatchString(v.String()) {
		c.violated(path, quoted, "satisfy regular expression pattern: %s", f.form())
	}
}

func (c *checker) number(v reflect.Value, path string) {
	b, ok := v.Interface().(bounded)
	if !ok {
		return
	}
	n, quoted := int(v.Int()), fmt.Sprintf("'%d'", v.Int())
	if least, most := b.bounds(); n < least {
		c.violated(path, quoted, "have value greater than or equal to %d", least)
	} else if n > most {
		c.violated(path, quoted, "have value less than or equal to %d", most)
	}
}
