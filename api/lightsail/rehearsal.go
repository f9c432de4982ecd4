package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) startRehearsal(ctx context.Context, in *wire.StartRehearsalRequest) (wire.OperationResult, error) {
	mode, share := openimds.RehearsalMode(in.Mode), 0.0
	switch {
	case in.Share != nil:
		share = *in.Share
	case mode == openimds.RehearseBrownOut:
		share = 1
	}
	return a.one(a.service.StartRehearsal(ctx, in.InstanceName, mode, share, time.Duration(*in.Seconds)*time.Second)) // 32 bits are read
}

func (a *protocol) stopRehearsal(ctx context.Context, in *wire.InstanceRequest) (wire.OperationResult, error) {
	return a.one(a.service.StopRehearsal(ctx, in.InstanceName))
}

// rehearsal is that of an instance while it is under way; nil: none is.
func (a *protocol) rehearsal(in *openimds.Instance) *openimds.Rehearsal {
	if in.Rehearsal.UnderWay(a.cfg.Now()) {
		return in.Rehearsal
	}
	return nil
}
