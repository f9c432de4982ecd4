package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func (a *protocol) updateInstanceEvents(ctx context.Context, in *wire.UpdateInstanceEventsRequest) (wire.OperationResult, error) {
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
			NotBefore: m.NotBefore.OrZero(), NotAfter: m.NotAfter.OrZero(), NotBeforeDeadline: m.NotBeforeDeadline.OrZero(),
		}
	}
	return a.one(a.service.UpdateEvents(ctx, in.InstanceName, u))
}
