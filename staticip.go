package openimds

import (
	"net/netip"
	"time"
)

// StaticIP is a public IPv4 address that belongs to the installation until it is released, and
// meanwhile to the instance that it is attached to.
type StaticIP struct {
	Name      string     `json:"name"`
	UUID      string     `json:"uuid"`
	Address   netip.Addr `json:"address"`
	CreatedAt time.Time  `json:"createdAt"`
	// AttachedTo is the instance's name; empty: free.
	AttachedTo string `json:"attachedTo,omitempty"`
}
