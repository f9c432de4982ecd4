package lightsail

import (
	"maps"
	"slices"
)

// BuiltTargets are the targets of all operations that are built.
func BuiltTargets() []string {
	targets := table()
	maps.DeleteFunc(targets, func(_ string, act action) bool { return act.request == nil })
	return slices.Sorted(maps.Keys(targets))
}

// Told is what a client of the API reads of an error.
func Told(err error) (exception, code, text string) {
	e := asWire(err)
	return e.name, e.Code, e.Message
}
