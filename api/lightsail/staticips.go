package lightsail

import (
	"context"

	"github.com/openimds/openimds"
)

// staticIP is how the API shows a static IP address.
type staticIP struct {
	Name         string   `json:"name"`
	ARN          string   `json:"arn"`
	SupportCode  string   `json:"supportCode"`
	CreatedAt    epoch    `json:"createdAt"`
	Location     location `json:"location"`
	ResourceType string   `json:"resourceType"`
	IPAddress    string   `json:"ipAddress"`
	AttachedTo   string   `json:"attachedTo,omitempty"`
	IsAttached   bool     `json:"isAttached"`
}

func (a *api) staticIP(ip *openimds.StaticIP) staticIP {
	return staticIP{
		Name: ip.Name, ARN: a.service.ARN(openimds.TypeStaticIP, ip.UUID), SupportCode: openimds.LightsailOwnerID + "/" + ip.Address.String(),
		CreatedAt: epoch{ip.CreatedAt}, Location: a.everywhere(), ResourceType: string(openimds.TypeStaticIP),
		IPAddress: ip.Address.String(), AttachedTo: ip.AttachedTo, IsAttached: ip.AttachedTo != "",
	}
}

// staticIPRequest is the request of what needs nothing but a static IP's name.
type staticIPRequest struct {
	StaticIPName string `json:"staticIpName" check:"required"`
}

func (a *api) allocateStaticIP(ctx context.Context, in *staticIPRequest) (operationsResult, error) {
	return a.many(a.service.AllocateStaticIP(ctx, in.StaticIPName))
}

type attachStaticIPRequest struct {
	StaticIPName string `json:"staticIpName" check:"required"`
	InstanceName string `json:"instanceName" check:"required"`
}

func (a *api) attachStaticIP(ctx context.Context, in *attachStaticIPRequest) (operationsResult, error) {
	return a.many(a.service.AttachStaticIP(ctx, in.StaticIPName, in.InstanceName))
}

func (a *api) detachStaticIP(ctx context.Context, in *staticIPRequest) (operationsResult, error) {
	return a.many(a.service.DetachStaticIP(ctx, in.StaticIPName))
}

func (a *api) releaseStaticIP(ctx context.Context, in *staticIPRequest) (operationsResult, error) {
	return a.many(a.service.ReleaseStaticIP(ctx, in.StaticIPName))
}

type getStaticIPResult struct {
	StaticIP staticIP `json:"staticIp"`
}

func (a *api) getStaticIP(ctx context.Context, in *staticIPRequest) (getStaticIPResult, error) {
	ip, err := a.service.StaticIP(ctx, in.StaticIPName)
	if err != nil {
		return getStaticIPResult{}, err
	}
	return getStaticIPResult{a.staticIP(ip)}, nil
}

type getStaticIPsResult struct {
	StaticIPs     []staticIP `json:"staticIps"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
}

func (a *api) getStaticIPs(ctx context.Context, in *pageRequest) (getStaticIPsResult, error) {
	const list = "GetStaticIps"
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getStaticIPsResult{}, err
	}
	found, next, err := a.service.StaticIPs(ctx, after, pageSize)
	result := getStaticIPsResult{StaticIPs: []staticIP{}, NextPageToken: pageToken(list, next)}
	for _, ip := range found {
		result.StaticIPs = append(result.StaticIPs, a.staticIP(ip))
	}
	return result, err
}
