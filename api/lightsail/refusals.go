package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func (a *protocol) waitForRefusals(ctx context.Context, in *wire.WaitForRefusalsRequest) (wire.WaitForRefusalsResult, error) {
	of := make([]control.SeenRefusals, len(in.Instances))
	for i, one := range in.Instances {
		of[i] = control.SeenRefusals{Name: one.InstanceName, Counter: one.CounterID}
		if one.Seen != nil {
			of[i].Seen = new(int64(*one.Seen))
		}
	}
	refused, at, err := a.service.WaitForRefusals(ctx, of, time.Duration(in.WaitSeconds)*time.Second)
	result := wire.WaitForRefusalsResult{Time: awsjson.Epoch{Time: at}, Instances: []wire.RefusedNumber{}}
	for _, r := range refused {
		result.Instances = append(result.Instances, wire.RefusedNumber{
			InstanceName: r.Name, InstanceID: r.InstanceID, Refused: r.NoToken, Unknown: r.Unknown, Awaited: r.Awaited, CounterID: r.Counter,
			HostTime: unlessZero(r.At), UntoldSeconds: int(r.Untold / time.Second), Hosts: r.Hosts,
		})
	}
	return result, err
}
