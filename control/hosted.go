package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// ErrNotServed says that a host has asked for what is not its own. Whether there is anything of that name, and whose
// it is, the host does not learn.
var ErrNotServed = errors.New("this host does not serve it")

// HostProcess is one process of a host that has no store of its own to change.
type HostProcess struct {
	// Name of the host, as it has proved it, and an id of the process, which no other process of the host has.
	Name, Process string
	// Enrolment is the id of that by which it has proved it.
	Enrolment string
	// Attaches says whether it carries attachments out, and Why it does not, for people.
	Attaches bool
	Why      string
	// Tells says that it tells of refused calls that somebody waits for.
	Tells bool
	// Version is that of the host's program.
	Version string
}

// Hosted is the service as a host may use it that is not this process's own: it tells of what it serves, and changes
// nothing else. Every method asks whose a thing is by the store, and answers ErrNotServed for what is another host's,
// nobody's, or not there, without telling which. Nothing is changed for a host whose enrolment has ended: ErrEnded.
type Hosted struct{ service *Service }

// ForHost is the service for that host.
func (s *Service) ForHost(p HostProcess) *Hosted {
	of := *s
	of.cfg.Host, of.cfg.Nameless, of.cfg.Attachments = p.Name, false, nil
	of.store = enrolled{s.store, p.Name, p.Enrolment}
	of.process = p.Process
	of.self = records.Host{Attaches: p.Attaches, Why: p.Why, Tells: p.Tells, Version: p.Version}
	return &Hosted{&of}
}

// Name is that of the host.
func (h *Hosted) Name() string { return h.service.cfg.Host }

// Region is that of the service.
func (h *Hosted) Region() string { return h.service.cfg.Region }

// JoinHost is [Service.JoinHost].
func (h *Hosted) JoinHost(ctx context.Context, takeOver bool) (store.Lease, error) {
	return h.service.JoinHost(ctx, takeOver)
}

// KeepHost says that the host is there. ErrNoLease: its lease has ended, or it never was this host's.
func (h *Hosted) KeepHost(ctx context.Context, lease store.Lease) error {
	if err := h.holds(ctx, lease); err != nil {
		return err
	}
	return h.service.store.KeepAlive(ctx, lease)
}

// LeaveHost says that the host goes: all that it told of itself vanishes. ErrNoLease as of KeepHost.
func (h *Hosted) LeaveHost(ctx context.Context, lease store.Lease) error {
	if err := h.holds(ctx, lease); err != nil {
		return err
	}
	return h.service.store.Revoke(ctx, lease)
}

// holds asks whether the lease is the host's: whoever knows the number of another's must not end it or live by it.
func (h *Hosted) holds(ctx context.Context, lease store.Lease) error {
	r, err := h.service.store.Get(ctx, records.HostKey(h.Name()))
	switch {
	case errors.Is(err, store.ErrNoRecord):
		return store.ErrNoLease
	case err != nil:
		return storeFailed(err)
	case lease == store.NoLease || r.Lease != lease:
		return store.ErrNoLease
	}
	return nil
}

// attachment reads that of an instance, if it is this host's.
func (h *Hosted) attachment(ctx context.Context, instance string) (*openimds.Attachment, store.Record, error) {
	r, err := h.service.store.Get(ctx, records.AttachmentPrefix+instance)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return nil, r, storeFailed(err)
	}
	a, derr := records.DecodeAttachment(r) // of none too, so that it takes no other time
	if err != nil || derr != nil || a.Host != h.Name() {
		return nil, r, ErrNotServed
	}
	return a, r, nil
}

// Serves says whether the instance is attached to this host; ErrNotServed: it is not.
func (h *Hosted) Serves(ctx context.Context, instance string) error {
	_, _, err := h.attachment(ctx, instance)
	return err
}

// Instance is an instance that is attached to this host.
func (h *Hosted) Instance(ctx context.Context, name string) (*openimds.Instance, error) {
	if err := h.Serves(ctx, name); err != nil {
		return nil, err
	}
	in, _, err := h.service.instance(ctx, name)
	if openimds.KindOf(err) == openimds.NotFound {
		return nil, ErrNotServed
	}
	return in, err
}

// maxHostedSeats is how many seats one commit takes, each with the attachment that it is for.
const maxHostedSeats = 50

// TakeSeats is [Service.TakeSeats] of the instances that are attached to this host, under the condition that they still
// are. It returns the others, and the revision at which the last seat was taken; 0: none was.
func (h *Hosted) TakeSeats(ctx context.Context, lease store.Lease, instances ...string) (others []string, revision int64, err error) {
	if err := h.holds(ctx, lease); err != nil {
		return nil, 0, err
	}
	value, err := records.Encode(records.Seat{Process: h.service.process})
	if err != nil {
		return nil, 0, broken(err)
	}
	slices.Sort(instances)
	for batch := range slices.Chunk(slices.Compact(instances), maxHostedSeats) {
		var left []string
		d, err := h.service.commit(ctx, "TakeSeats", func(d *draft) error {
			left = nil
			for _, name := range batch {
				_, attached, err := h.attachment(ctx, name)
				if errors.Is(err, ErrNotServed) {
					left = append(left, name)
					continue
				}
				if err != nil {
					return err
				}
				d.changes = append(d.changes,
					store.Change{Verb: store.Put, Key: records.SeatKey(name, h.Name()), Value: value, If: store.Whatever, Lease: lease},
					store.Change{Verb: store.Check, Key: attached.Key, If: attached.Revision})
			}
			return nil
		})
		if err != nil {
			return nil, 0, noLeaseOr(err)
		}
		others, revision = append(others, left...), max(revision, d.revision)
	}
	return others, revision, nil
}

// noLeaseOr tells of a lease that has ended as the store does: who had it comes back.
func noLeaseOr(err error) error {
	if errors.Is(err, store.ErrNoLease) {
		return store.ErrNoLease
	}
	return err
}

// LeaveSeat is [Service.LeaveSeat]: a host has no seat but its own.
func (h *Hosted) LeaveSeat(ctx context.Context, instance string) error {
	if openimds.ValidateName(instance) != nil {
		return ErrNotServed
	}
	return h.service.LeaveSeat(ctx, instance)
}

// MarkApplied is [Service.MarkApplied] of an instance that this process of the host has a seat for, and of an operation
// on it.
func (h *Hosted) MarkApplied(ctx context.Context, name, id, operation string) error {
	if openimds.ValidateName(name) != nil || operation == "" {
		return ErrNotServed
	}
	r, err := h.service.store.Get(ctx, records.SeatKey(name, h.Name()))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return storeFailed(err)
	}
	seat, derr := records.Decode[records.Seat](r)
	if err != nil || derr != nil || seat.Process != h.service.process {
		return ErrNotServed
	}
	in, _, err := h.service.instance(ctx, name)
	if err != nil && openimds.KindOf(err) != openimds.NotFound {
		return err
	}
	if err == nil && in.ID != id {
		return ErrNotServed // another one has the name by now, whose operations are none of this host's
	}
	switch op, _, err := h.service.operation(ctx, operation); {
	case openimds.KindOf(err) == openimds.NotFound && err != nil:
		return ErrNotServed
	case err != nil:
		return err
	case op.Resource != name || op.ResourceType != openimds.TypeInstance:
		return ErrNotServed
	}
	return h.service.MarkApplied(ctx, &openimds.Instance{
		Name: name, ID: id, OptionsOperation: operation,
		Options: openimds.MetadataOptions{State: openimds.OptionsPending},
	})
}

// BindAttachments is [Service.BindAttachments] of this host's attachments. It returns the instances of the others.
func (h *Hosted) BindAttachments(ctx context.Context, all []openimds.Binding) (others []string, err error) {
	own, others, err := h.own(ctx, len(all), func(i int) string { return all[i].Instance })
	if err != nil {
		return nil, err
	}
	var bindings []openimds.Binding
	for _, i := range own {
		bindings = append(bindings, all[i])
	}
	return others, h.service.BindAttachments(ctx, bindings)
}

// ReportAttachments is [Service.ReportAttachments] of this host's attachments. It returns the instances of the others.
func (h *Hosted) ReportAttachments(ctx context.Context, lease store.Lease, all []openimds.AttachmentStatus) (others []string, err error) {
	if err := h.holds(ctx, lease); err != nil {
		return nil, err
	}
	own, others, err := h.own(ctx, len(all), func(i int) string { return all[i].Instance })
	if err != nil {
		return nil, err
	}
	var statuses []openimds.AttachmentStatus
	for _, i := range own {
		statuses = append(statuses, all[i])
	}
	return others, noLeaseOr(h.service.ReportAttachments(ctx, lease, statuses))
}

// own are the places of what is of this host's instances, and the names of the others. What is changed later asks by
// itself, under the condition of what it has read.
func (h *Hosted) own(ctx context.Context, n int, instance func(int) string) (own []int, others []string, err error) {
	for i := range n {
		err := h.Serves(ctx, instance(i))
		switch {
		case errors.Is(err, ErrNotServed):
			others = append(others, instance(i))
		case err != nil:
			return nil, nil, err
		default:
			own = append(own, i)
		}
	}
	return own, others, nil
}

// FaultsMet is [Service.FaultsMet] of an instance that is attached to this host.
func (h *Hosted) FaultsMet(ctx context.Context, name, id string, from time.Time, more int) (all int, err error) {
	if err := h.Serves(ctx, name); err != nil {
		return 0, err
	}
	return h.service.FaultsMet(ctx, name, id, from, max(more, 0))
}

// KeepRefused is [Service.KeepRefused] of an instance that this host has, or had moments ago: what it refused just before
// the instance was taken away from it comes a little late.
func (h *Hosted) KeepRefused(ctx context.Context, stays *StaysOf, told records.Refused) error {
	named, err := h.service.store.Get(ctx, records.InstanceIDKey(told.InstanceID))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return storeFailed(err)
	}
	had, serr := stays.Instance(ctx, told.InstanceID)
	if serr != nil {
		return serr
	}
	now := h.service.cfg.Now()
	if err != nil || string(named.Value) != told.Instance || !had.Has(now.Add(-lateRefusals), now) {
		return ErrNotServed
	}
	return h.service.KeepRefused(ctx, []records.Refused{told})
}

// lateRefusals is how late a host may tell of calls that it refused before an instance was taken away from it.
const lateRefusals = 5 * time.Minute
