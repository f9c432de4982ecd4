package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) getAccessDetails(ctx context.Context, in *wire.GetInstanceAccessDetailsRequest) (wire.GetInstanceAccessDetailsResult, error) {
	found, private, err := a.service.Access(ctx, in.InstanceName)
	if err != nil {
		return wire.GetInstanceAccessDetailsResult{}, err
	}
	if in.Protocol == wire.RDP || in.Protocol == "" && a.blueprints[found.BlueprintID].Platform == openimds.PlatformWindows {
		return wire.GetInstanceAccessDetailsResult{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The password of %s is its guest's own affair: openimds does not know it", found.Name)
	}
	shown := a.instance(found)
	return wire.GetInstanceAccessDetailsResult{AccessDetails: wire.InstanceAccessDetails{
		IPAddress: shown.PublicIPAddress, IPv6Addresses: shown.IPv6Addresses, PrivateKey: string(private), Protocol: wire.SSH,
		InstanceName: found.Name, Username: found.Username, HostKeys: []wire.None{},
	}}, nil
}
