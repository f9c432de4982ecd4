package lightsail

import (
	"context"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) sendSSHPublicKey(ctx context.Context, in *wire.SendSSHPublicKeyRequest) (wire.OperationResult, error) {
	return a.one(a.service.SendSSHPublicKey(ctx, in.InstanceName, in.OSUser, in.PublicKey, api.Caller(ctx).Profile))
}
