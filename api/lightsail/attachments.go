package lightsail

import (
	"context"
	"net/netip"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) attachInstance(ctx context.Context, in *wire.AttachInstanceRequest) (wire.OperationResult, error) {
	attachment := openimds.Attachment{
		Instance: in.InstanceName, Host: in.Host, Interface: in.Interface, Netns: in.NetworkNamespace, PID: in.ProcessID,
		MAC: strings.ToLower(in.MACAddress), Alias: in.IfAlias, ByName: in.ByName, GuestMAC: strings.ToLower(in.GuestMACAddress),
	}
	for _, text := range in.PrivateIPAddresses {
		private, err := parseSource(text)
		if err != nil {
			return wire.OperationResult{}, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The private address %.60q is not an address of IPv4 or IPv6, with the length of its subnet's prefix or without", text)
		}
		attachment.PrivateIPs = append(attachment.PrivateIPs, private)
	}
	for _, text := range in.Sources {
		prefix, err := parseSource(text)
		if err != nil {
			return wire.OperationResult{}, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The source %.60q is not an address or prefix of IPv4 or IPv6", text)
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

func (a *protocol) detachInstance(ctx context.Context, in *wire.InstanceRequest) (wire.OperationResult, error) {
	return a.one(a.service.DetachInstance(ctx, in.InstanceName))
}

func (a *protocol) getAttachments(ctx context.Context, _ *wire.Nothing) (wire.GetAttachmentsResult, error) {
	all, err := a.service.Attachments(ctx)
	if err != nil {
		return wire.GetAttachmentsResult{}, err
	}
	shown, err := a.attachments(ctx, all)
	return wire.GetAttachmentsResult{Attachments: shown}, err
}

// attachments shows some with how far they are.
func (a *protocol) attachments(ctx context.Context, all []*openimds.Attachment) ([]wire.Attachment, error) {
	statuses, err := a.service.AttachmentStatuses(ctx, all)
	result := make([]wire.Attachment, 0, len(all))
	for i, status := range statuses {
		at := all[i]
		shown := wire.Attachment{
			InstanceName: at.Instance, Interface: at.Interface, NetworkNamespace: at.Netns, ProcessID: at.PID,
			MACAddress: at.MAC, IfAlias: at.Alias, ByName: at.ByName, CreatedAt: awsjson.Epoch{Time: at.CreatedAt},
			BoundTo: (*wire.Face)(at.Bound), Found: (*wire.Face)(status.Found), State: status.State, Reason: status.Reason,
		}
		shown.Sources = prefixes(at.Sources)
		shown.GuestMACAddress, shown.PrivateIPAddresses = at.GuestMAC, prefixes(at.PrivateIPs)
		for _, l := range at.Links() {
			shown.GuestInterfaces = append(shown.GuestInterfaces, wire.GuestInterface{MACAddress: l.MAC, Addresses: prefixes(l.Addresses)})
		}
		if at.Host != openimds.LocalHost {
			shown.Host = at.Host
		}
		shown.From = at.From
		result = append(result, shown)
	}
	return result, err
}

func prefixes(all []netip.Prefix) (texts []string) {
	for _, p := range all {
		texts = append(texts, p.String())
	}
	return texts
}

func guardedPlaces(all []openimds.GuardedPlace) wire.GuardedPlacesResult {
	result := wire.GuardedPlacesResult{Places: make([]wire.GuardedPlace, 0, len(all))}
	for _, p := range all {
		shown := wire.GuardedPlace{Interface: p.Interface, NetworkNamespace: p.Netns}
		if p.Host != openimds.LocalHost {
			shown.Host = p.Host
		}
		result.Places = append(result.Places, shown)
	}
	return result
}

func (a *protocol) getGuardedPlaces(context.Context, *wire.Nothing) (wire.GuardedPlacesResult, error) {
	return guardedPlaces(a.service.GuardedPlaces()), nil
}

func (a *protocol) releasePlaces(ctx context.Context, in *wire.ReleasePlacesRequest) (wire.GuardedPlacesResult, error) {
	if in.All == (len(in.Names) > 0) {
		return wire.GuardedPlacesResult{}, openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "Name the places to release, or say all")
	}
	released, err := a.service.ReleasePlaces(ctx, in.Names)
	return guardedPlaces(released), err
}
