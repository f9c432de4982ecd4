package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func (a *protocol) updateInstanceFaults(ctx context.Context, in *wire.UpdateInstanceFaultsRequest) (wire.OperationResult, error) {
	return a.one(a.service.UpdateFaults(ctx, in.InstanceName, control.FaultsUpdate{
		Clear: in.Clear, On: (*openimds.FaultTarget)(in.On), LatencyMillis: in.LatencyMillis, JitterMillis: in.JitterMillis,
		LatencyShare: in.LatencyShare, Share: in.Share, Status: in.Status, StatusShare: in.StatusShare,
		RefuseShare: in.RefuseShare, DropShare: in.DropShare,
		ExpiredCredentials: in.ExpiredCredentials, AbsentSeconds: in.AbsentSeconds, ForMillis: in.ForMillis, Count: in.Count,
	}))
}
