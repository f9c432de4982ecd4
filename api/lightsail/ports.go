package lightsail

import (
	"context"
	"slices"

	"github.com/openimds/openimds"
)

// portInfo is how the API shows a port rule of an instance.
type portInfo struct {
	FromPort        int      `json:"fromPort"`
	ToPort          int      `json:"toPort"`
	Protocol        string   `json:"protocol"`
	AccessFrom      string   `json:"accessFrom"`
	AccessType      string   `json:"accessType"` // "public": in small letters, unlike the model
	CommonName      string   `json:"commonName"`
	AccessDirection string   `json:"accessDirection"`
	CIDRs           []string `json:"cidrs"`
	IPv6CIDRs       []string `json:"ipv6Cidrs"`
	CIDRListAliases []string `json:"cidrListAliases"`
}

func showPort(p openimds.Port) portInfo {
	from := "Custom"
	if slices.Contains(p.CIDRs, "0.0.0.0/0") || slices.Contains(p.IPv6CIDRs, "::/0") {
		from = "Anywhere (0.0.0.0/0)"
	}
	return portInfo{
		FromPort: p.From, ToPort: p.To, Protocol: p.Protocol, AccessFrom: from, AccessType: "public", AccessDirection: "inbound",
		CIDRs: append([]string{}, p.CIDRs...), IPv6CIDRs: append([]string{}, p.IPv6CIDRs...), CIDRListAliases: []string{},
	}
}

type portState struct {
	FromPort        int      `json:"fromPort"`
	ToPort          int      `json:"toPort"`
	Protocol        string   `json:"protocol"`
	State           string   `json:"state"`
	CIDRs           []string `json:"cidrs"`
	IPv6CIDRs       []string `json:"ipv6Cidrs"`
	CIDRListAliases []string `json:"cidrListAliases"`
}

type getPortStatesResult struct {
	PortStates []portState `json:"portStates"`
}

func (a *api) getPortStates(ctx context.Context, in *instanceRequest) (getPortStatesResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return getPortStatesResult{}, err
	}
	result := getPortStatesResult{[]portState{}}
	for _, p := range found.Ports {
		info := showPort(p)
		result.PortStates = append(result.PortStates, portState{p.From, p.To, p.Protocol, "open", info.CIDRs, info.IPv6CIDRs, info.CIDRListAliases})
	}
	return result, nil
}

type portRule struct {
	FromPort  port            `json:"fromPort"`
	ToPort    port            `json:"toPort"`
	Protocol  networkProtocol `json:"protocol"`
	CIDRs     []string        `json:"cidrs"`
	IPv6CIDRs []string        `json:"ipv6Cidrs"`
	// CIDRListAliases name addresses of AWS's consoles, which do not exist here.
	CIDRListAliases unbuilt `json:"cidrListAliases"`
}

type putPublicPortsRequest struct {
	PortInfos    []portRule `json:"portInfos" check:"required"`
	InstanceName string     `json:"instanceName" check:"required"`
}

func (a *api) putPublicPorts(ctx context.Context, in *putPublicPortsRequest) (operationResult, error) {
	ports := make([]openimds.Port, 0, len(in.PortInfos))
	for _, p := range in.PortInfos {
		ports = append(ports, openimds.Port{
			From: int(p.FromPort), To: int(p.ToPort), Protocol: string(p.Protocol), CIDRs: p.CIDRs, IPv6CIDRs: p.IPv6CIDRs,
		})
	}
	return a.one(a.service.PutPorts(ctx, in.InstanceName, ports))
}
