package lightsail

import (
	"context"
	"net/netip"
	"strings"

	"github.com/openimds/openimds"
)

// attachInstanceRequest attaches an instance to one of an interface, a network namespace and a process
// of the server's host.
type attachInstanceRequest struct {
	InstanceName     string   `json:"instanceName" check:"required"`
	Interface        string   `json:"interface"`
	Sources          []string `json:"sources"`
	NetworkNamespace string   `json:"networkNamespace"`
	ProcessID        int      `json:"processId"`
	// MACAddress and IfAlias are marks that the interface must have. ByName takes whatever has the name;
	// otherwise the attachment is bound to what is found there first.
	MACAddress string `json:"macAddress"`
	IfAlias    string `json:"ifAlias"`
	ByName     bool   `json:"byName"`
}

func (a *api) attachInstance(ctx context.Context, in *attachInstanceRequest) (operationResult, error) {
	attachment := openimds.Attachment{
		Instance: in.InstanceName, Interface: in.Interface, Netns: in.NetworkNamespace, PID: in.ProcessID,
		MAC: strings.ToLower(in.MACAddress), Alias: in.IfAlias, ByName: in.ByName,
	}
	for _, text := range in.Sources {
		prefix, err := parseSource(text)
		if err != nil {
			return operationResult{}, openimds.Errorf(openimds.InvalidInput, "", "The source %.60q is not an address or prefix of IPv4 or IPv6", text)
		}
		attachment.Sources = append(attachment.Sources, prefix)
	}
	return a.one(a.service.AttachInstance(ctx, attachment))
}

// parseSource takes a prefix, or an address for the prefix of it alone.
func parseSource(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(text)
}

type detachInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
}

func (a *api) detachInstance(ctx context.Context, in *detachInstanceRequest) (operationResult, error) {
	return a.one(a.service.DetachInstance(ctx, in.InstanceName))
}

type getAttachmentsResult struct {
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	InstanceName     string   `json:"instanceName"`
	Interface        string   `json:"interface,omitempty"`
	Sources          []string `json:"sources,omitempty"`
	NetworkNamespace string   `json:"networkNamespace,omitempty"`
	ProcessID        int      `json:"processId,omitempty"`
	MACAddress       string   `json:"macAddress,omitempty"`
	IfAlias          string   `json:"ifAlias,omitempty"`
	ByName           bool     `json:"byName,omitempty"`
	CreatedAt        epoch    `json:"createdAt"`
	// State is attached, waiting (for its interface or namespace), failed or gone; Reason says what
	// is amiss.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// BoundTo is what the attachment is bound to; Found is what is at its place now, if that is another.
	BoundTo *face `json:"boundTo,omitempty"`
	Found   *face `json:"found,omitempty"`
}

// face is [openimds.Face]; the numbers that exceed what JavaScript can tell apart are texts.
type face struct {
	Boot   string `json:"boot,omitempty"`
	Index  int    `json:"index,omitempty"`
	Serial uint64 `json:"serial,omitempty,string"`
	Cookie uint64 `json:"cookie,omitempty,string"`
	MAC    string `json:"mac,omitempty"`
	Alias  string `json:"alias,omitempty"`
}

func (a *api) getAttachments(ctx context.Context, _ *nothing) (getAttachmentsResult, error) {
	all, err := a.service.Attachments(ctx)
	result := getAttachmentsResult{Attachments: make([]attachment, 0, len(all))}
	for _, at := range all {
		shown := attachment{
			InstanceName: at.Instance, Interface: at.Interface, NetworkNamespace: at.Netns, ProcessID: at.PID,
			MACAddress: at.MAC, IfAlias: at.Alias, ByName: at.ByName, CreatedAt: epoch{at.CreatedAt},
			BoundTo: (*face)(at.Bound), Found: (*face)(a.service.FoundInstead(at.Instance)),
		}
		for _, p := range at.Sources {
			shown.Sources = append(shown.Sources, p.String())
		}
		shown.State, shown.Reason = a.service.AttachmentStatus(at.Instance)
		result.Attachments = append(result.Attachments, shown)
	}
	return result, err
}

type guardedPlacesResult struct {
	Places []guardedPlace `json:"places"`
}

type guardedPlace struct {
	Interface        string `json:"interface,omitempty"`
	NetworkNamespace string `json:"networkNamespace,omitempty"`
}

func guardedPlaces(all []openimds.GuardedPlace) guardedPlacesResult {
	result := guardedPlacesResult{Places: make([]guardedPlace, 0, len(all))}
	for _, p := range all {
		result.Places = append(result.Places, guardedPlace{Interface: p.Interface, NetworkNamespace: p.Netns})
	}
	return result
}

func (a *api) getGuardedPlaces(context.Context, *nothing) (guardedPlacesResult, error) {
	return guardedPlaces(a.service.GuardedPlaces()), nil
}

// releasePlacesRequest names places as GetGuardedPlaces lists them.
type releasePlacesRequest struct {
	Names []string `json:"names"`
	All   bool     `json:"all"`
}

func (a *api) releasePlaces(ctx context.Context, in *releasePlacesRequest) (guardedPlacesResult, error) {
	if in.All == (len(in.Names) > 0) {
		return guardedPlacesResult{}, openimds.Errorf(openimds.InvalidInput, "", "Name the places to release, or say all")
	}
	released, err := a.service.ReleasePlaces(ctx, in.Names)
	return guardedPlaces(released), err
}
