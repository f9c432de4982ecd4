package wire

import (
	"github.com/openimds/openimds"
)

// The operations.
var (
	StartRehearsal = changes[StartRehearsalRequest, OperationResult](openIMDS + "StartRehearsal")
	StopRehearsal  = changes[InstanceRequest, OperationResult](openIMDS + "StopRehearsal")
)

// StartRehearsalRequest begins to try out required session tokens on an instance. It ends by itself.
type StartRehearsalRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// Mode is shadow (answer calls without a token, and count them) or brown-out (refuse a share of them).
	Mode string `json:"mode" check:"required"`
	// Seconds is how long it lasts.
	Seconds *int `json:"seconds" check:"required"`
	// Share is of a brown-out: the part of the calls without a token that is refused, above 0 up to 1;
	// without a word, all.
	Share *float64 `json:"share,omitzero"`
}

// InstanceRehearsal is the rehearsal of one instance, where one is under way.
type InstanceRehearsal struct {
	InstanceName string              `json:"instanceName"`
	Rehearsal    *openimds.Rehearsal `json:"rehearsal"`
}
