package trace

import (
	"net/netip"
	"slices"
	"time"

	"github.com/openimds/openimds/processes"
)

// Service is what answers at an address.
type Service string

// The services.
const (
	Metadata             Service = "imds"
	ContainerCredentials Service = "container-credentials"
)

func serviceOf(a netip.Addr) Service {
	if slices.Contains(addrs4[1:], a) || slices.Contains(addrs6[1:], a) {
		return ContainerCredentials
	}
	return Metadata
}

// Version is how a call speaks with the metadata service.
type Version string

// The versions. Calls of other services have None.
const (
	V1      Version = "v1"
	V2      Version = "v2"
	Token   Version = "v2-token" // asks for a session token
	None    Version = "none"
	Unknown Version = "unknown" // its bytes were not all seen
)

// Call is a request to one of the services, or a connection to one over which no request was seen.
type Call struct {
	Time    time.Time  `json:"time"`
	Service Service    `json:"service"`
	Address netip.Addr `json:"address"`
	// Source is the caller's end of the connection, in the caller's own network namespace; not valid: not seen.
	Source netip.AddrPort `json:"-"`
	// Netns is the cookie of that namespace (SO_NETNS_COOKIE of socket(7)), which no other one has until the next
	// boot; 0: not known, as of a connection that was not seen to begin, or by the packet socket.
	Netns   uint64  `json:"-"`
	Version Version `json:"version"`
	Method  string  `json:"method,omitempty"`
	// Path is what was asked for, without its query and with what looks like a secret hidden; of other
	// services than the metadata service it is not told. Group is the part of the tree it is in.
	Path  string `json:"path,omitempty"`
	Group string `json:"group,omitempty"`
	// UserAgent is as sent, at most 256 bytes.
	UserAgent string `json:"userAgent,omitempty"`
	// Forwarded says that the request had an X-Forwarded-For header: no request for a token with one is answered.
	Forwarded bool `json:"forwarded,omitempty"`
	// Status is of the answer; 0: none was seen.
	Status int `json:"status,omitempty"`
	// HopsLeft is the IP TTL that the answer to a request for a token had left when it arrived here. 1 is enough
	// for this caller and no more; 0: not seen.
	HopsLeft int `json:"hopsLeft,omitempty"`
	// Remark says in words what else is to be known of the call.
	Remark  string            `json:"remark,omitempty"`
	Process processes.Process `json:"process"`
	// For are the processes on whose behalf systemd-imdsd calls.
	For []processes.Process `json:"for,omitempty"`
}

// Gap is what was not seen, in numbers: who made it is unknown.
type Gap struct {
	Time time.Time `json:"time"`
	// Connections, Requests and Answers were lost for want of room.
	Connections uint64 `json:"connections,omitempty"`
	Requests    uint64 `json:"requests,omitempty"`
	Answers     uint64 `json:"answers,omitempty"`
	// Calls were seen but could not be told: who reads was too slow.
	Calls uint64 `json:"calls,omitempty"`
	// Sampled are connections that were not looked at to save CPU time; one of every SampledOneOf is looked at now.
	Sampled      uint64 `json:"sampled,omitempty"`
	SampledOneOf int    `json:"sampledOneOf,omitempty"`
}

func (g Gap) empty() bool {
	return g.Connections+g.Requests+g.Answers+g.Calls+g.Sampled == 0
}
