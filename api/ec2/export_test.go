package ec2

import "reflect"

// Shapes are the structures of an action, and whether it may change something.
type Shapes struct {
	Request, Result reflect.Type
	Changes         bool
}

// Actions are those that are built, for the tests outside.
func Actions() map[string]Shapes {
	all := map[string]Shapes{}
	for _, a := range actions() {
		all[a.name] = Shapes{a.request, a.result, a.changes}
	}
	return all
}
