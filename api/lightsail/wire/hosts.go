package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	EnrollHost  = changes[EnrollHostRequest, EnrollHostResult](openIMDS + "EnrollHost")
	GetHosts    = looks[Nothing, GetHostsResult](openIMDS + "GetHosts")
	GetHost     = looks[HostRequest, HostResult](openIMDS + "GetHost")
	DrainHost   = changes[HostRequest, HostResult](openIMDS + "DrainHost")
	UndrainHost = changes[HostRequest, HostResult](openIMDS + "UndrainHost")
	EvictHost   = changes[HostRequest, HostResult](openIMDS + "EvictHost")
)

// HostRequest names a host.
type HostRequest struct {
	Host string `json:"host" check:"required"`
}

// EnrollHostRequest invites a machine to join as a host.
type EnrollHostRequest struct {
	Host string `json:"host" check:"required"`
	// Seconds is how long it may take to join: an hour unless it is said, which is the most.
	Seconds *int `json:"seconds,omitzero"`
}

// EnrollHostResult has all that the machine needs, and secrets of it: nobody is shown it once more.
type EnrollHostResult struct {
	Invitation openimds.Invitation `json:"invitation"`
}

// GetHostsResult has all hosts, by their names.
type GetHostsResult struct {
	Hosts []Host `json:"hosts"`
}

// HostResult is one host, and the attachments there.
type HostResult struct {
	Host        Host         `json:"host"`
	Attachments []Attachment `json:"attachments"`
}

// Host is what is known of a host.
type Host struct {
	Name string `json:"name"`
	// State is "there" or "away"; "invited" of one that has never been there.
	State string `json:"state"`
	// Since is when it came, and Left when it was missed; neither where that is not known.
	Since *awsjson.Epoch `json:"since,omitempty"`
	Left  *awsjson.Epoch `json:"left,omitempty"`
	// Version is that of the program that it runs, or ran last, where it is known.
	Version string `json:"version,omitempty"`
	// Attaches says whether it carries attachments out, and Reason why not; of one that is there.
	Attaches bool   `json:"attaches"`
	Reason   string `json:"reason,omitempty"`
	// DrainedSince is there while it takes no new attachments.
	DrainedSince *awsjson.Epoch `json:"drainedSince,omitempty"`
	// JoinedAt and CertificateEnds are of a host that joined by an invitation.
	JoinedAt        *awsjson.Epoch `json:"joinedAt,omitempty"`
	CertificateEnds *awsjson.Epoch `json:"certificateEnds,omitempty"`
	// InvitedUntil is until when a machine may join by its name.
	InvitedUntil *awsjson.Epoch `json:"invitedUntil,omitempty"`
	// Attachments and Seats count the instances that are attached there, and those that it serves.
	Attachments int `json:"attachments"`
	Seats       int `json:"seats"`
}
