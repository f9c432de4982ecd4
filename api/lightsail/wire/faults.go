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
type UpdateInstanceFaultsRequest struct {
	InstanceName       string   `json:"instanceName" check:"required"`
	Clear              bool     `json:"clear,omitzero"`
	On                 *string  `json:"on,omitzero"` // all, token or data
	LatencyMillis      *int     `json:"latencyMillis,omitzero"`
	JitterMillis       *int     `json:"jitterMillis,omitzero"`
	Status             *int     `json:"status,omitzero"`
	StatusShare        *float64 `json:"statusShare,omitzero"` // 0 to 1
	RefuseShare        *float64 `json:"refuseShare,omitzero"` // 0 to 1
	ExpiredCredentials *bool    `json:"expiredCredentials,omitzero"`
	AbsentSeconds      *int     `json:"absentSeconds,omitzero"`
}

// InstanceFaults are the faults of one instance, where there are any.
type InstanceFaults struct {
	InstanceName string           `json:"instanceName"`
	Faults       *openimds.Faults `json:"faults"`
}
