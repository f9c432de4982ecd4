package ec2query

import (
	"encoding/base64"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// What the model says of a member stands in its type and tags: query:"Name" is its name in a form, check:"required"
// asks that it is there.
type (
	// Enumerated values are one of a set.
	Enumerated interface{ Values() []string }
	// Blob is data, in base64 on the wire.
	Blob []byte
	// Unbuilt is a member of the model that nothing carries out: it may not be given, or be the truth value false.
	Unbuilt struct{}
)

// Decode reads a form into the structure that into points to. An error is an [*Error].
func Decode(f *Form, into any) error {
	return structure(f, reflect.ValueOf(into).Elem(), "")
}

// MemberName is the name of a member in a form.
func MemberName(f reflect.StructField) string { return f.Tag.Get("query") }

// IsRequired says whether a request has to have the member.
func IsRequired(f reflect.StructField) bool { return f.Tag.Get("check") == "required" }

func structure(f *Form, v reflect.Value, path string) error {
	if f.value != nil {
		return unknown(strings.TrimSuffix(path, "."))
	}
	known := map[string]bool{}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := MemberName(field)
		known[name] = true
		given := f.kids[name]
		if given == nil {
			if IsRequired(field) {
				return refuse("MissingParameter", "The request must contain the parameter %s%s", path, name)
			}
			continue
		}
		if err := value(given, v.Field(i), path+name); err != nil {
			return err
		}
		if IsRequired(field) && v.Field(i).IsZero() {
			return refuse("MissingParameter", "The request must contain the parameter %s%s", path, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.kids)) {
		if !known[name] {
			return unknown(path + name)
		}
	}
	return nil
}

func unknown(path string) error {
	return refuse("UnknownParameter", "The parameter %.200s is not recognized", path)
}

func value(f *Form, v reflect.Value, path string) error {
	switch v.Interface().(type) {
	case Unbuilt:
		if f.value != nil && (*f.value == "false" || *f.value == "") {
			return nil
		}
		return refuse("UnsupportedOperation", "The parameter %s is not supported: openimds does not carry it out", path)
	case Blob:
		if f.value == nil {
			return unknown(path)
		}
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(*f.value), ""))
		if err != nil {
			return invalid(*f.value, path, "It must be base64")
		}
		v.SetBytes(data)
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return value(f, v.Elem(), path)
	case reflect.Struct:
		return structure(f, v, path+".")
	case reflect.Slice:
		return list(f, v, path)
	}
	if f.value == nil {
		return unknown(path)
	}
	return scalar(*f.value, v, path)
}

// list reads the items of a list by their numbers, which begin at 1 and may have gaps.
func list(f *Form, v reflect.Value, path string) error {
	if f.value != nil {
		if *f.value == "" { // how some clients say that it is empty
			return nil
		}
		return unknown(path)
	}
	numbers := make([]int, 0, len(f.kids))
	for text := range f.kids {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || strconv.Itoa(n) != text {
			return unknown(path + "." + text)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	v.Set(reflect.MakeSlice(v.Type(), len(numbers), len(numbers)))
	for i, n := range numbers {
		text := strconv.Itoa(n)
		if err := value(f.kids[text], v.Index(i), path+"."+text); err != nil {
			return err
		}
	}
	return nil
}

func scalar(text string, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.String:
		if of, ok := v.Interface().(Enumerated); ok && !slices.Contains(of.Values(), text) {
			return invalid(text, path, "It must be one of "+strings.Join(of.Values(), ", "))
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return invalid(text, path, "It must be true or false")
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return invalid(text, path, "It must be an integer")
		}
		v.SetInt(n)
	}
	return nil
}

func invalid(text, path, why string) error {
	return refuse("InvalidParameterValue", "Value (%.100s) for parameter %s is invalid. %s", text, path, why)
}
