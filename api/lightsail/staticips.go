package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) staticIP(ip *openimds.StaticIP) wire.StaticIP {
	return wire.StaticIP{
		Name: ip.Name, ARN: a.service.ARN(openimds.TypeStaticIP, ip.UUID), SupportCode: openimds.LightsailOwnerID + "/" + ip.Address.String(),
		CreatedAt: awsjson.Epoch{Time: ip.CreatedAt}, Location: a.everywhere(), ResourceType: string(openimds.TypeStaticIP),
		IPAddress: ip.Address.String(), AttachedTo: ip.AttachedTo, IsAttached: ip.AttachedTo != "",
	}
}

func (a *protocol) allocateStaticIP(ctx context.Context, in *wire.StaticIPRequest) (wire.OperationsResult, error) {
	return a.many(a.service.AllocateStaticIP(ctx, in.StaticIPName))
}

func (a *protocol) attachStaticIP(ctx context.Context, in *wire.AttachStaticIPRequest) (wire.OperationsResult, error) {
	return a.many(a.service.AttachStaticIP(ctx, in.StaticIPName, in.InstanceName))
}

func (a *protocol) detachStaticIP(ctx context.Context, in *wire.StaticIPRequest) (wire.OperationsResult, error) {
	return a.many(a.service.DetachStaticIP(ctx, in.StaticIPName))
}

func (a *protocol) releaseStaticIP(ctx context.Context, in *wire.StaticIPRequest) (wire.OperationsResult, error) {
	return a.many(a.service.ReleaseStaticIP(ctx, in.StaticIPName))
}

func (a *protocol) getStaticIP(ctx context.Context, in *wire.StaticIPRequest) (wire.GetStaticIPResult, error) {
	ip, err := a.service.StaticIP(ctx, in.StaticIPName)
	if err != nil {
		return wire.GetStaticIPResult{}, err
	}
	return wire.GetStaticIPResult{StaticIP: a.staticIP(ip)}, nil
}

func (a *protocol) getStaticIPs(ctx context.Context, in *wire.PageRequest) (wire.GetStaticIPsResult, error) {
	list := a.list("GetStaticIps")
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetStaticIPsResult{}, err
	}
	found, next, err := a.service.StaticIPs(ctx, after, pageSize)
	result := wire.GetStaticIPsResult{StaticIPs: []wire.StaticIP{}, NextPageToken: api.PageToken(list, next)}
	for _, ip := range found {
		result.StaticIPs = append(result.StaticIPs, a.staticIP(ip))
	}
	return result, err
}
