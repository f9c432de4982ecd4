package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	CloseInstancePublicPorts = changes[PublicPortsRequest, OperationResult](lightsail + "CloseInstancePublicPorts")
	GetInstancePortStates    = looks[InstanceRequest, GetInstancePortStatesResult](lightsail + "GetInstancePortStates")
	OpenInstancePublicPorts  = changes[PublicPortsRequest, OperationResult](lightsail + "OpenInstancePublicPorts")
	PutInstancePublicPorts   = changes[PutInstancePublicPortsRequest, OperationResult](lightsail + "PutInstancePublicPorts")
)

// PortInfo is how the API shows a port rule of an instance.
type PortInfo struct {
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

// PortState is a port rule as GetInstancePortStates shows it.
type PortState struct {
	FromPort        int      `json:"fromPort"`
	ToPort          int      `json:"toPort"`
	Protocol        string   `json:"protocol"`
	State           string   `json:"state"`
	CIDRs           []string `json:"cidrs"`
	IPv6CIDRs       []string `json:"ipv6Cidrs"`
	CIDRListAliases []string `json:"cidrListAliases"`
}

// GetInstancePortStatesResult has an instance's port rules.
type GetInstancePortStatesResult struct {
	PortStates []PortState `json:"portStates"`
}

// PortRule is a port rule in a request.
type PortRule struct {
	FromPort  Port            `json:"fromPort,omitzero"`
	ToPort    Port            `json:"toPort,omitzero"`
	Protocol  NetworkProtocol `json:"protocol,omitzero"`
	CIDRs     []string        `json:"cidrs,omitzero"`
	IPv6CIDRs []string        `json:"ipv6Cidrs,omitzero"`
	// CIDRListAliases name addresses of AWS's consoles, which do not exist here.
	CIDRListAliases awsjson.Unbuilt `json:"cidrListAliases,omitzero"`
}

// PutInstancePublicPortsRequest replaces all port rules of an instance.
type PutInstancePublicPortsRequest struct {
	PortInfos    []PortRule `json:"portInfos" check:"required"`
	InstanceName string     `json:"instanceName" check:"required"`
}

// PublicPortsRequest opens or closes ports of an instance, and leaves its other rules as they are.
type PublicPortsRequest struct {
	PortInfo     *PortRule `json:"portInfo" check:"required"`
	InstanceName string    `json:"instanceName" check:"required"`
}
