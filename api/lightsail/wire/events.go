package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	UpdateInstanceEvents = changes[UpdateInstanceEventsRequest, OperationResult](openIMDS + "UpdateInstanceEvents")
)

// UpdateInstanceEventsRequest changes what is announced to an instance's guest; what it leaves out
// stays. Clear takes whole kinds back first: spot, rebalance, maintenance, lifecycle.
type UpdateInstanceEventsRequest struct {
	InstanceName   string             `json:"instanceName" check:"required"`
	Clear          []string           `json:"clear,omitzero"`
	Spot           *SpotEvent         `json:"spot,omitzero"`
	Rebalance      *RebalanceEvent    `json:"rebalance,omitzero"`
	Maintenance    *MaintenanceChange `json:"maintenance,omitzero"`
	LifecycleState *string            `json:"lifecycleState,omitzero"`
}

// SpotEvent announces that a spot instance will be interrupted: terminate, stop or hibernate.
type SpotEvent struct {
	Action string         `json:"action" check:"required"`
	Time   *awsjson.Epoch `json:"time" check:"required"`
}

// RebalanceEvent recommends to rebalance, as of a time.
type RebalanceEvent struct {
	NoticeTime *awsjson.Epoch `json:"noticeTime" check:"required"`
}

// MaintenanceChange is a new event, or with an eventId a change of the one that has it.
type MaintenanceChange struct {
	EventID           string         `json:"eventId,omitzero"`
	Code              string         `json:"code,omitzero"`
	Description       string         `json:"description,omitzero"`
	State             string         `json:"state,omitzero"`
	NotBefore         *awsjson.Epoch `json:"notBefore,omitzero"`
	NotAfter          *awsjson.Epoch `json:"notAfter,omitzero"`
	NotBeforeDeadline *awsjson.Epoch `json:"notBeforeDeadline,omitzero"`
}
