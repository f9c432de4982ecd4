package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) createConsoleLink(ctx context.Context, _ *wire.Nothing) (wire.CreateConsoleLinkResult, error) {
	if a.cfg.Links == nil {
		return wire.CreateConsoleLinkResult{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This server has no console: it was started without")
	}
	token, until, err := a.cfg.Links.Link(ctx, api.Caller(ctx))
	return wire.CreateConsoleLinkResult{Token: token, ExpiresAt: awsjson.Epoch{Time: until}}, err
}
