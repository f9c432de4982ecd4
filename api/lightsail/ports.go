package lightsail

import (
	"context"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func showPort(p openimds.Port) wire.PortInfo {
	from := "Custom"
	if slices.Contains(p.CIDRs, "0.0.0.0/0") || slices.Contains(p.IPv6CIDRs, "::/0") {
		from = "Anywhere (0.0.0.0/0)"
	}
	return wire.PortInfo{
		FromPort: p.From, ToPort: p.To, Protocol: p.Protocol, AccessFrom: from, AccessType: "public", AccessDirection: "inbound",
		CIDRs: append([]string{}, p.CIDRs...), IPv6CIDRs: append([]string{}, p.IPv6CIDRs...), CIDRListAliases: []string{},
	}
}

func (a *protocol) getPortStates(ctx context.Context, in *wire.InstanceRequest) (wire.GetInstancePortStatesResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return wire.GetInstancePortStatesResult{}, err
	}
	result := wire.GetInstancePortStatesResult{PortStates: []wire.PortState{}}
	for _, p := range control.JoinPorts(found.Ports) {
		info := showPort(p)
		result.PortStates = append(result.PortStates, wire.PortState{FromPort: p.From, ToPort: p.To, Protocol: p.Protocol, State: "open", CIDRs: info.CIDRs, IPv6CIDRs: info.IPv6CIDRs, CIDRListAliases: info.CIDRListAliases})
	}
	return result, nil
}

func (a *protocol) putPublicPorts(ctx context.Context, in *wire.PutInstancePublicPortsRequest) (wire.OperationResult, error) {
	ports := make([]openimds.Port, 0, len(in.PortInfos))
	for _, p := range in.PortInfos {
		ports = append(ports, readPort(p))
	}
	return a.one(a.service.PutPorts(ctx, in.InstanceName, ports))
}

func (a *protocol) openPublicPorts(ctx context.Context, in *wire.PublicPortsRequest) (wire.OperationResult, error) {
	return a.one(a.service.OpenPorts(ctx, in.InstanceName, readPort(*in.PortInfo)))
}

func (a *protocol) closePublicPorts(ctx context.Context, in *wire.PublicPortsRequest) (wire.OperationResult, error) {
	return a.one(a.service.ClosePorts(ctx, in.InstanceName, readPort(*in.PortInfo)))
}

func readPort(p wire.PortRule) openimds.Port {
	return openimds.Port{From: int(p.FromPort), To: int(p.ToPort), Protocol: string(p.Protocol), CIDRs: p.CIDRs, IPv6CIDRs: p.IPv6CIDRs}
}
