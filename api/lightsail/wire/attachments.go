package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	AttachInstance   = changes[AttachInstanceRequest, OperationResult](openIMDS + "AttachInstance")
	DetachInstance   = changes[InstanceRequest, OperationResult](openIMDS + "DetachInstance")
	GetAttachments   = looks[Nothing, GetAttachmentsResult](openIMDS + "GetAttachments")
	GetGuardedPlaces = looks[Nothing, GuardedPlacesResult](openIMDS + "GetGuardedPlaces")
	ReleasePlaces    = changes[ReleasePlacesRequest, GuardedPlacesResult](openIMDS + "ReleasePlaces")
)

// AttachInstanceRequest attaches an instance to one of an interface, a network namespace and a process
// of a host, which is the server's if none is named.
type AttachInstanceRequest struct {
	InstanceName     string   `json:"instanceName" check:"required"`
	Host             string   `json:"host,omitzero"`
	Interface        string   `json:"interface,omitzero"`
	Sources          []string `json:"sources,omitzero"`
	NetworkNamespace string   `json:"networkNamespace,omitzero"`
	ProcessID        int      `json:"processId,omitzero"`
	// MACAddress is the guest's, which it is told; of an interface it is a mark that this must have, as IfAlias. ByName takes whatever has the name;
	// otherwise the attachment is bound to what is found there first.
	MACAddress string `json:"macAddress,omitzero"`
	IfAlias    string `json:"ifAlias,omitzero"`
	ByName     bool   `json:"byName,omitzero"`
	// GuestMACAddress and PrivateIPAddresses are what the guest is told of its primary interface, whatever the link
	// shows: addresses of IPv4 and IPv6, with the length of their subnet's prefix ("10.9.1.2/24") or without. What is not
	// given is learned, as far as the host can see it.
	GuestMACAddress    string   `json:"guestMacAddress,omitzero"`
	PrivateIPAddresses []string `json:"privateIpAddresses,omitzero"`
}

// GetAttachmentsResult has every attachment, by the instance's name.
type GetAttachmentsResult struct {
	Attachments []Attachment `json:"attachments"`
}

// Attachment is where an instance's guest calls from.
type Attachment struct {
	InstanceName string `json:"instanceName"`
	Host         string `json:"host,omitempty"` // where hosts have names
	// From are the hosts that it was moved away from and that have yet to let go of it.
	From             []string      `json:"from,omitempty"`
	Interface        string        `json:"interface,omitempty"`
	Sources          []string      `json:"sources,omitempty"`
	NetworkNamespace string        `json:"networkNamespace,omitempty"`
	ProcessID        int           `json:"processId,omitempty"`
	MACAddress       string        `json:"macAddress,omitempty"`
	IfAlias          string        `json:"ifAlias,omitempty"`
	ByName           bool          `json:"byName,omitempty"`
	CreatedAt        awsjson.Epoch `json:"createdAt"`
	// GuestMACAddress and PrivateIPAddresses are as they were given.
	GuestMACAddress    string   `json:"guestMacAddress,omitempty"`
	PrivateIPAddresses []string `json:"privateIpAddresses,omitempty"`
	// GuestInterfaces are those that the guest is told of, the primary one first, as far as they are known.
	GuestInterfaces []GuestInterface `json:"guestInterfaces,omitempty"`
	// State is attached, waiting (for its interface or namespace), failed, gone, or unknown where the host is
	// not there; Reason says what is amiss.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// BoundTo is what the attachment is bound to; Found is what is at its place now, if that is another.
	BoundTo *Face `json:"boundTo,omitempty"`
	Found   *Face `json:"found,omitempty"`
}

// GuestInterface is a network interface of a guest: its MAC address, empty where it is not known, and its own addresses
// with the length of their subnet's prefix, or of a whole address where that is not known.
type GuestInterface struct {
	MACAddress string   `json:"macAddress,omitempty"`
	Addresses  []string `json:"addresses,omitempty"`
}

// Face is the face that the store keeps; the numbers that exceed what JavaScript can tell apart are texts.
type Face struct {
	Boot   string `json:"boot,omitempty"`
	Index  int    `json:"index,omitempty"`
	Serial uint64 `json:"serial,omitempty,string"`
	Cookie uint64 `json:"cookie,omitempty,string"`
	MAC    string `json:"mac,omitempty"`
	Alias  string `json:"alias,omitempty"`
}

// GuardedPlacesResult has places that are guarded though nothing is attached there: all of them, or those
// that were released.
type GuardedPlacesResult struct {
	Places []GuardedPlace `json:"places"`
}

// GuardedPlace is an interface or a network namespace, never both.
type GuardedPlace struct {
	Host             string `json:"host,omitempty"` // where hosts have names
	Interface        string `json:"interface,omitempty"`
	NetworkNamespace string `json:"networkNamespace,omitempty"`
}

// ReleasePlacesRequest names places as GetGuardedPlaces lists them.
type ReleasePlacesRequest struct {
	Names []string `json:"names,omitzero"`
	All   bool     `json:"all,omitzero"`
}
