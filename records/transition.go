package records

import (
	"time"

	"github.com/openimds/openimds/store"
)

// TransitionPrefix leads what instances are in the middle of, so that what is under way is found without looking at
// all instances; its keys go on with their names.
const TransitionPrefix = "transition/"

// Transition is an instance's way from one state to the next: from pending to running, from stopping to stopped.
// The record is written in the commit that begins it and deleted in the one that ends it, so that a process that
// was killed meanwhile leaves it to the next one.
type Transition struct {
	// Operation is the id of the one that ends with it; those that it follows end too.
	Operation string    `json:"operation"`
	Begun     time.Time `json:"begun"`
	// Lasts is in nanoseconds.
	Lasts time.Duration `json:"lasts"`
}

// TransitionKey is where the transition of an instance has its record.
func TransitionKey(instance string) string { return TransitionPrefix + instance }

// DecodeTransition reads a transition's record.
func DecodeTransition(r store.Record) (Transition, error) { return Decode[Transition](r) }
