package wire

import (
	"github.com/openimds/openimds"
)

// The operations.
var (
	UpdateInstanceFaults = changes[UpdateInstanceFaultsRequest, OperationResult](openIMDS + "UpdateInstanceFaults")
)

// UpdateInstanceFaultsRequest changes what an instance's guest meets on purpose; what it leaves out
// stays, and zero ends a fault. Clear ends all of them first.
//
// Share is for the latency and the status that the request names; if it names neither, for those that are on.
// ForMillis is when all faults end, from now on, and Count how many requests meet them first; zero is never.
type UpdateInstanceFaultsRequest struct {
	InstanceName       string   `json:"instanceName" check:"required"`
	Clear              bool     `json:"clear,omitzero"`
	On                 *string  `json:"on,omitzero"` // all, token, data, or a path such as meta-data/iam
	LatencyMillis      *int     `json:"latencyMillis,omitzero"`
	JitterMillis       *int     `json:"jitterMillis,omitzero"`
	LatencyShare       *float64 `json:"latencyShare,omitzero"` // 0 to 1
	Share              *float64 `json:"share,omitzero"`        // 0 to 1
	Status             *int     `json:"status,omitzero"`
	StatusShare        *float64 `json:"statusShare,omitzero"` // 0 to 1
	RefuseShare        *float64 `json:"refuseShare,omitzero"` // 0 to 1
	DropShare          *float64 `json:"dropShare,omitzero"`   // 0 to 1
	ExpiredCredentials *bool    `json:"expiredCredentials,omitzero"`
	AbsentSeconds      *int     `json:"absentSeconds,omitzero"`
	ForMillis          *int     `json:"forMillis,omitzero"`
	Count              *int     `json:"count,omitzero"`
}

// InstanceFaults are the faults of one instance, where there are any.
type InstanceFaults struct {
	InstanceName string           `json:"instanceName"`
	Faults       *openimds.Faults `json:"faults"`
}
