package report

import (
	"reflect"

	"github.com/openimds/openimds/printable"
)

// onLines has each text below v stay on one line, with nothing in it that turns or hides what is read: much of
// it is what guests and their callers say of themselves.
func onLines(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(printable.Line(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			onLines(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			onLines(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			onLines(v.Field(i))
		}
	}
}
