package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) enrollHost(ctx context.Context, in *wire.EnrollHostRequest) (wire.EnrollHostResult, error) {
	lasts := openimds.MaxJoinTime
	if in.Seconds != nil {
		lasts = time.Duration(*in.Seconds) * time.Second // 32 bits are read
	}
	invitation, err := a.service.EnrollHost(ctx, in.Host, lasts)
	return wire.EnrollHostResult{Invitation: invitation}, err
}

func (a *protocol) getHosts(ctx context.Context, _ *wire.Nothing) (wire.GetHostsResult, error) {
	all, err := a.service.Hosts(ctx)
	result := wire.GetHostsResult{Hosts: make([]wire.Host, 0, len(all))}
	for i := range all {
		result.Hosts = append(result.Hosts, showHost(&all[i]))
	}
	return result, err
}

// known is a time, if it is.
func known(t time.Time) *awsjson.Epoch {
	if t.IsZero() {
		return nil
	}
	return &awsjson.Epoch{Time: t}
}

func showHost(h *openimds.FleetHost) wire.Host {
	shown := wire.Host{
		Name: h.Name, State: "away", Version: h.Version, Attaches: h.Attaches, Reason: h.Why, Attachments: h.Attachments, Seats: h.Seats,
		Since: known(h.Since), Left: known(h.Left), DrainedSince: known(h.Drained),
		JoinedAt: known(h.JoinedAt), CertificateEnds: known(h.CertificateEnds), InvitedUntil: known(h.InvitedUntil),
	}
	switch {
	case h.There:
		shown.State = "there"
	case h.Version == "" && h.Left.IsZero() && h.JoinedAt.IsZero() && !h.InvitedUntil.IsZero():
		shown.State = "invited"
	}
	return shown
}

func (a *protocol) getHost(ctx context.Context, in *wire.HostRequest) (wire.HostResult, error) {
	host, attached, err := a.service.Host(ctx, in.Host)
	if err != nil {
		return wire.HostResult{}, err
	}
	shown, err := a.attachments(ctx, attached)
	return wire.HostResult{Host: showHost(&host), Attachments: shown}, err
}

func (a *protocol) drainHost(ctx context.Context, in *wire.HostRequest) (wire.HostResult, error) {
	if err := a.service.DrainHost(ctx, in.Host); err != nil {
		return wire.HostResult{}, err
	}
	return a.getHost(ctx, in)
}

func (a *protocol) undrainHost(ctx context.Context, in *wire.HostRequest) (wire.HostResult, error) {
	if err := a.service.UndrainHost(ctx, in.Host); err != nil {
		return wire.HostResult{}, err
	}
	return a.getHost(ctx, in)
}

func (a *protocol) evictHost(ctx context.Context, in *wire.HostRequest) (wire.HostResult, error) {
	if err := a.service.EvictHost(ctx, in.Host); err != nil {
		return wire.HostResult{}, err
	}
	found, err := a.getHost(ctx, in)
	if openimds.KindOf(err) == openimds.NotFound { // it had never come
		return wire.HostResult{Host: wire.Host{Name: in.Host, State: "away"}, Attachments: []wire.Attachment{}}, nil
	}
	return found, err
}
