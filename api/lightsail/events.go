package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// updateInstanceEventsRequest changes what is announced to an instance's guest; what it leaves out
// stays. Clear takes whole kinds back first: spot, rebalance, maintenance, lifecycle.
type updateInstanceEventsRequest struct {
	InstanceName   string             `json:"instanceName" check:"required"`
	Clear          []string           `json:"clear"`
	Spot           *spotEvent         `json:"spot"`
	Rebalance      *rebalanceEvent    `json:"rebalance"`
	Maintenance    *maintenanceChange `json:"maintenance"`
	LifecycleState *string            `json:"lifecycleState"`
}

type spotEvent struct {
	Action string `json:"action" check:"required"`
	Time   *epoch `json:"time" check:"required"`
}

type rebalanceEvent struct {
	NoticeTime *epoch `json:"noticeTime" check:"required"`
}

// maintenanceChange is a new event, or with an eventId a change of the one that has it.
type maintenanceChange struct {
	EventID           string `json:"eventId"`
	Code              string `json:"code"`
	Description       string `json:"description"`
	State             string `json:"state"`
	NotBefore         *epoch `json:"notBefore"`
	NotAfter          *epoch `json:"notAfter"`
	NotBeforeDeadline *epoch `json:"notBeforeDeadline"`
}

func (a *api) updateInstanceEvents(ctx context.Context, in *updateInstanceEventsRequest) (operationResult, error) {
	u := control.EventsUpdate{LifecycleState: in.LifecycleState}
	for _, kind := range in.Clear {
		u.Clear = append(u.Clear, control.EventKind(kind))
	}
	if in.Spot != nil {
		u.Spot = &openimds.SpotInterruption{Action: in.Spot.Action, Time: in.Spot.Time.Time}
	}
	if in.Rebalance != nil {
		u.RebalanceAt = &in.Rebalance.NoticeTime.Time
	}
	if m := in.Maintenance; m != nil {
		u.Maintenance = &openimds.MaintenanceEvent{
			ID: m.EventID, Code: m.Code, Description: m.Description, State: m.State,
			NotBefore: m.NotBefore.orZero(), NotAfter: m.NotAfter.orZero(), NotBeforeDeadline: m.NotBeforeDeadline.orZero(),
		}
	}
	return a.one(a.service.UpdateEvents(ctx, in.InstanceName, u))
}

// orZero is the time, or no time where none was given.
func (e *epoch) orZero() time.Time {
	if e == nil {
		return time.Time{}
	}
	return e.Time
}
