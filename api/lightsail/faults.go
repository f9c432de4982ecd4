package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// updateInstanceFaultsRequest changes what an instance's guest meets on purpose; what it leaves out
// stays, and zero ends a fault. Clear ends all of them first.
type updateInstanceFaultsRequest struct {
	InstanceName       string   `json:"instanceName" check:"required"`
	Clear              bool     `json:"clear"`
	On                 *string  `json:"on"` // all, token or data
	LatencyMillis      *int     `json:"latencyMillis"`
	JitterMillis       *int     `json:"jitterMillis"`
	Status             *int     `json:"status"`
	StatusShare        *float64 `json:"statusShare"` // 0 to 1
	RefuseShare        *float64 `json:"refuseShare"` // 0 to 1
	ExpiredCredentials *bool    `json:"expiredCredentials"`
	AbsentSeconds      *int     `json:"absentSeconds"`
}

func (a *api) updateInstanceFaults(ctx context.Context, in *updateInstanceFaultsRequest) (operationResult, error) {
	return a.one(a.service.UpdateFaults(ctx, in.InstanceName, control.FaultsUpdate{
		Clear: in.Clear, On: (*openimds.FaultTarget)(in.On), LatencyMillis: in.LatencyMillis, JitterMillis: in.JitterMillis,
		Status: in.Status, StatusShare: in.StatusShare, RefuseShare: in.RefuseShare,
		ExpiredCredentials: in.ExpiredCredentials, AbsentSeconds: in.AbsentSeconds,
	}))
}

// instanceFaults are the faults of one instance, where there are any.
type instanceFaults struct {
	InstanceName string           `json:"instanceName"`
	Faults       *openimds.Faults `json:"faults"`
}
