package hostdoor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/strictjson"
)

// read takes a request's body as what it is to be. A member that is not known is of an agent of a later release, and passed
// over.
func read(body []byte, to any) error {
	if !json.Valid(body) {
		return malformed("the body is not JSON")
	}
	w := strictjson.Walk(body)
	if err := w.Skip(w.Next()); err != nil {
		return malformed("the body has a name twice, or is nested too deeply")
	}
	if err := json.Unmarshal(body, to); err != nil {
		return malformed("the body is not of this request's form")
	}
	return nil
}

var processForm = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// hosted is the part of the service that the host may use.
func (c *call) hosted(of hostlink.Of, more ...func(*control.HostProcess)) (*control.Hosted, error) {
	if !processForm.MatchString(of.Process) {
		return nil, malformed("the id of the process is not a UUID")
	}
	p := control.HostProcess{Name: c.host.Name, Process: of.Process, Enrolment: c.host.Enrolment}
	for _, set := range more {
		set(&p)
	}
	for _, r := range c.door.cfg.Regions {
		if r.Name == of.Region {
			return r.Service.ForHost(p), nil
		}
	}
	return nil, malformed("the replica does not have that region")
}

func items(n, most int) error {
	if n > most {
		return malformed(fmt.Sprintf("the request is of more than %d items", most))
	}
	return nil
}

// names refuses what no instance can be called: it would be told again in the answer, however long it is.
func names[T any](all []T, of func(*T) string) error {
	for i := range all {
		if openimds.ValidateName(of(&all[i])) != nil {
			return malformed("a name is none that an instance can have")
		}
	}
	return nil
}

func itself(name *string) string { return *name }

// others puts down what was asked for and is not the host's.
func (c *call) others(names []string) hostlink.OthersAnswer {
	if len(names) > 0 {
		c.audit(names[0], fmt.Sprintf("%d of the instances are not attached to this host", len(names)))
	}
	return hostlink.OthersAnswer{Others: names}
}

// own puts down that something is not the host's.
func (c *call) own(instance string, err error) error {
	if errors.Is(err, control.ErrNotServed) {
		if openimds.ValidateName(instance) != nil {
			instance = ""
		}
		c.audit(instance, "it is not this host's")
	}
	return err
}

func (c *call) redeem(ctx context.Context) (any, error) {
	var q hostlink.RedeemRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	issued, err := c.door.cfg.Authority.Redeem(ctx, q.Token, q.Request)
	return hostlink.CertificateAnswer{Certificate: issued.Certificate}, err
}

func (c *call) renew(ctx context.Context) (any, error) {
	var q hostlink.RenewRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	issued, err := c.door.cfg.Authority.Renew(ctx, c.host, q.Request)
	return hostlink.CertificateAnswer{Certificate: issued.Certificate}, err
}

func (c *call) join(ctx context.Context) (any, error) {
	var q hostlink.JoinRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if len(q.Why) > hostlink.MaxText || len(q.Program) > hostlink.MaxText {
		return nil, malformed("a text is longer than 1 KiB")
	}
	h, err := c.hosted(q.Of, func(p *control.HostProcess) {
		p.Attaches, p.Why, p.Tells, p.Version = q.Attaches, q.Why, q.Tells, q.Program
	})
	if err != nil {
		return nil, err
	}
	lease, err := h.JoinHost(ctx, q.TakeOver)
	return hostlink.LeaseAnswer{Lease: lease}, err
}

func (c *call) keep(ctx context.Context) (any, error) {
	return c.lease(ctx, (*control.Hosted).KeepHost)
}

func (c *call) leave(ctx context.Context) (any, error) {
	return c.lease(ctx, (*control.Hosted).LeaveHost)
}

func (c *call) lease(ctx context.Context, do func(*control.Hosted, context.Context, store.Lease) error) (any, error) {
	var q hostlink.LeaseRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	return hostlink.Done{}, do(h, ctx, q.Lease)
}

func (c *call) seats(ctx context.Context) (any, error) {
	var q hostlink.SeatsRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if err := cmp.Or(items(len(q.Instances), hostlink.MaxItems), names(q.Instances, itself)); err != nil {
		return nil, err
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	others, revision, err := h.TakeSeats(ctx, q.Lease, q.Instances...)
	return hostlink.SeatsAnswer{OthersAnswer: c.others(others), Revision: revision}, err
}

func (c *call) leaveSeat(ctx context.Context) (any, error) {
	var q hostlink.SeatRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	return hostlink.Done{}, c.own(q.Instance, h.LeaveSeat(ctx, q.Instance))
}

func (c *call) applied(ctx context.Context) (any, error) {
	var q hostlink.AppliedRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	return hostlink.Done{}, c.own(q.Instance, h.MarkApplied(ctx, q.Instance, q.ID, q.Operation))
}

func (c *call) bound(ctx context.Context) (any, error) {
	var q hostlink.BoundRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if err := cmp.Or(items(len(q.Bindings), hostlink.MaxItems), names(q.Bindings, func(b *openimds.Binding) string { return b.Instance })); err != nil {
		return nil, err
	}
	for i := range q.Bindings {
		if !fits(&q.Bindings[i].Face) {
			return nil, malformed("a mark of a link is longer than any has")
		}
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	others, err := h.BindAttachments(ctx, q.Bindings)
	return c.others(others), err
}

// fits refuses what no link is known by: what a host tells is kept, and must not grow.
func fits(f *openimds.Face) bool {
	return f == nil || len(f.Boot) <= 64 && len(f.MAC) <= 64 && len(f.Alias) <= 256
}

// states are how far an attachment can be.
var states = map[string]bool{"attached": true, "waiting": true, "failed": true, "gone": true}

func (c *call) status(ctx context.Context) (any, error) {
	var q hostlink.StatusRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if err := cmp.Or(items(len(q.Statuses), hostlink.MaxItems), names(q.Statuses, func(s *openimds.AttachmentStatus) string { return s.Instance })); err != nil {
		return nil, err
	}
	for _, s := range q.Statuses {
		if !states[s.State] || len(s.Reason) > hostlink.MaxText || !fits(s.Found) {
			return nil, malformed("a status is none that there is, or its reason is longer than 1 KiB")
		}
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	others, err := h.ReportAttachments(ctx, q.Lease, q.Statuses)
	return c.others(others), err
}

func (c *call) faults(ctx context.Context) (any, error) {
	var q hostlink.FaultsRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	all, err := h.FaultsMet(ctx, q.Instance, q.ID, q.From, q.More)
	return hostlink.FaultsAnswer{All: all}, c.own(q.Instance, err)
}
