package hostlink

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// Region is one region of an installation as the host tells it of itself. It is what the host's side of a server asks
// of a control.Service that has a store of its own.
type Region struct {
	client *Client
	name   string
	// attaches says whether this host carries attachments out, and why it does not, for people.
	attaches bool
	why      string
}

// Region makes that of a name.
func (c *Client) Region(name string, attaches bool, why string) *Region {
	return &Region{c, name, attaches, why}
}

func (r *Region) of() Of { return Of{Region: r.name, Process: r.client.cfg.Process} }

// JoinHost implements [agent.Hosts].
func (r *Region) JoinHost(ctx context.Context, takeOver bool) (store.Lease, error) {
	var a LeaseAnswer
	err := r.client.call(ctx, PathJoin, JoinRequest{Of: r.of(), TakeOver: takeOver, Attaches: r.attaches, Why: r.why, Tells: true, Program: r.client.cfg.Program}, &a)
	return a.Lease, err
}

// KeepAlive implements [agent.Leases].
func (r *Region) KeepAlive(ctx context.Context, l store.Lease) error {
	if l == store.NoLease {
		return store.ErrNoLease
	}
	return r.client.call(ctx, PathKeep, LeaseRequest{r.of(), l}, &Done{})
}

// Revoke implements [agent.Leases].
func (r *Region) Revoke(ctx context.Context, l store.Lease) error {
	if l == store.NoLease {
		return store.ErrNoLease
	}
	return r.client.call(ctx, PathLeave, LeaseRequest{r.of(), l}, &Done{})
}

// TakeSeats implements [agent.Hosts]. An instance that is this host's no more has no seat: that it is to be served no
// more is on its way.
func (r *Region) TakeSeats(ctx context.Context, lease store.Lease, instances ...string) error {
	_, err := r.takeSeats(ctx, lease, instances)
	return err
}

// takeSeats returns the revision of the store at which the last seat was taken.
func (r *Region) takeSeats(ctx context.Context, lease store.Lease, instances []string) (revision int64, err error) {
	for batch := range slices.Chunk(instances, MaxItems) {
		var a SeatsAnswer
		if err := r.client.call(ctx, PathSeats, SeatsRequest{r.of(), lease, batch}, &a); err != nil {
			return 0, err
		}
		revision = max(revision, a.Revision)
		r.tellOthers("a seat", a.OthersAnswer)
	}
	return revision, nil
}

func (r *Region) tellOthers(what string, a OthersAnswer) {
	if len(a.Others) > 0 {
		r.client.cfg.Log.Info("the replica keeps nothing of instances that are this host's no more", "what", what, "region", r.name,
			"instances", len(a.Others), "first", slog.AnyValue(a.Others[:min(3, len(a.Others))]))
	}
}

// LeaveSeat implements [agent.Hosts].
func (r *Region) LeaveSeat(ctx context.Context, instance string) error {
	return settled(r.client.call(ctx, PathLeaveSeat, SeatRequest{r.of(), instance}, &Done{}))
}

// MarkApplied implements [agent.Marker].
func (r *Region) MarkApplied(ctx context.Context, in *openimds.Instance) error {
	if in.Options.State != openimds.OptionsPending {
		return nil
	}
	return settled(r.client.call(ctx, PathApplied, AppliedRequest{r.of(), in.Name, in.ID, in.OptionsOperation}, &Done{}))
}

// settled takes it for done that a replica knows nothing of an instance as this host's: it never will again.
func settled(err error) error {
	if err == ErrNotServed { //nolint:errorlint // as refusal has made it
		return nil
	}
	return err
}

// BindAttachments implements [attach.Binder].
func (r *Region) BindAttachments(ctx context.Context, bindings []openimds.Binding) error {
	for batch := range slices.Chunk(bindings, MaxItems/2) { // each may be of many addresses
		var a OthersAnswer
		if err := r.client.call(ctx, PathBound, BoundRequest{r.of(), batch}, &a); err != nil {
			return err
		}
		r.tellOthers("a binding", a)
	}
	return nil
}

// ReportAttachments tells how far attachments are; see [attach.Config].
func (r *Region) ReportAttachments(ctx context.Context, lease store.Lease, all []openimds.AttachmentStatus) error {
	bounded := slices.Clone(all)
	for i := range bounded {
		bounded[i].Reason = bounded[i].Reason[:min(len(bounded[i].Reason), MaxText)]
	}
	for batch := range slices.Chunk(bounded, MaxItems) {
		var a OthersAnswer
		if err := r.client.call(ctx, PathStatus, StatusRequest{r.of(), lease, batch}, &a); err != nil {
			return err
		}
		r.tellOthers("a status", a)
	}
	return nil
}

// FaultsMet implements [guestside.Faults].
func (r *Region) FaultsMet(ctx context.Context, instance, id string, from time.Time, more int) (all int, err error) {
	var a FaultsAnswer
	err = settled(r.client.call(ctx, PathFaults, FaultsRequest{r.of(), instance, id, from, more}, &a))
	return a.All, err
}

// sign asks for the signatures of instances' identity documents.
func (r *Region) sign(ctx context.Context, instances []string) (SignAnswer, error) {
	var a SignAnswer
	err := r.client.call(ctx, PathSign, SignRequest{r.of(), instances}, &a)
	return a, err
}
