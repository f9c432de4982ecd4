package control

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Attachments is what carries attachments out on this host.
type Attachments interface {
	// Guarded lists the places that were attached and are guarded now.
	Guarded() []openimds.GuardedPlace
	// Status says how far the attachment is that the instance got at that time; false: nothing is known of it.
	Status(instance string, createdAt time.Time) (openimds.AttachmentStatus, bool)
	// Release ends the guard of these places, or of all with no names, and says of which it did.
	Release(names []string) ([]openimds.GuardedPlace, error)
}

// samePlace says whether both are at one place, with the same callers.
func samePlace(a *openimds.Attachment, b *openimds.Attachment) bool {
	return records.PlaceKey(a) == records.PlaceKey(b) && slices.Equal(a.Sources, b.Sources)
}

// conflicts says whether one caller could be both.
func conflicts(a *openimds.Attachment, b *openimds.Attachment) bool {
	if records.PlaceKey(a) != records.PlaceKey(b) {
		return false
	}
	return Overlap(a.Sources, b.Sources)
}

// Overlap says whether one caller could be of both sources; none are all callers.
func Overlap(a, b []netip.Prefix) bool {
	return len(a) == 0 || len(b) == 0 ||
		slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}

// AttachInstance attaches an instance to a place of a host, this service's if none is named. An instance has one attachment; a
// place that another instance has is refused, unless sources tell the two apart. To attach it again to its
// place binds it to what is there now. To attach it to another host that is named moves it there: the former one lets
// go first.
//
// Errors: InvalidInput/Conflicting, InvalidInput/OutOfRange, InvalidInput/Reserved, InvalidInput/TooMany and
// InvalidInput/Duplicate for a place that no host could have, InvalidInput/InUse where the instance is attached
// elsewhere or another one there; NotFound/DoesNotExist; OperationFailure/NotEnforced where the host is
// not there or attaches none, OperationFailure/WrongState where it is drained.
func (s *Service) AttachInstance(ctx context.Context, a openimds.Attachment) (openimds.Operation, error) {
	named := a.Host != ""
	a.Host = cmp.Or(a.Host, s.cfg.Host)
	if a.Host == s.cfg.Host && s.cfg.Nameless {
		return openimds.Operation{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This server shares its store and has no name of its own, so nothing can be attached to it: start it with one, or ask one that has a name")
	}
	if a.Host == s.cfg.Host && s.cfg.Attachments == nil {
		return openimds.Operation{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This server cannot attach instances: it needs Linux and the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN; start it as root")
	}
	if err := a.Validate(); err != nil {
		return openimds.Operation{}, err
	}
	d, err := s.commit(ctx, "AttachInstance", func(d *draft) error {
		in, instanceWas, err := s.instance(ctx, a.Instance)
		if err != nil {
			return err
		}
		key := records.AttachmentPrefix + a.Instance
		d.operation(instanceOperation("AttachInstance", in))
		switch was, err := s.store.Get(ctx, key); {
		case err == nil:
			return s.attachAgain(ctx, d, was, a, named)
		case !errors.Is(err, store.ErrNoRecord):
			return storeFailed(err)
		}
		if err := s.refuseHost(ctx, d, a.Host); err != nil {
			return err
		}
		a.CreatedAt, a.Bound, a.Learned = d.now, nil, nil
		if a.From, err = s.serving(ctx, d, &a, nil); err != nil {
			return err
		}
		if links := a.Links(); !reflect.DeepEqual(links, in.Links) {
			in.Links = links
			d.noteInstance(instanceWas, in)
		} else {
			d.changes = append(d.changes, store.Change{Verb: store.Check, Key: instanceWas.Key, If: instanceWas.Revision})
		}
		if err := s.take(ctx, d, &a); err != nil {
			return err
		}
		d.put(store.Record{Key: key, Revision: store.IfAbsent}, &a)
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// attachAgain drafts that an instance stays where it is attached, by the marks that are asked for now. If
// something else is there by now, it is bound to that, as the operator says by attaching it again.
func (s *Service) attachAgain(ctx context.Context, d *draft, was store.Record, a openimds.Attachment, named bool) error {
	before, err := records.DecodeAttachment(was)
	if err == nil && before.Host != a.Host && named {
		return s.move(ctx, d, was, before, a)
	}
	if err != nil || !samePlace(before, &a) {
		return openimds.Errorf(openimds.InvalidInput, openimds.InUse, "The instance %s is attached already; detach it first", a.Instance)
	}
	if err := s.refuseAbsent(ctx, a.Host); err != nil {
		return err
	}
	a.CreatedAt, a.Bound, a.Learned, a.From = before.CreatedAt, before.Bound, before.Learned, before.From
	status, err := s.attachmentStatus(ctx, before)
	if err != nil {
		return err
	}
	found := status.Found
	met := false
	switch {
	case a.ByName:
		a.Bound = nil
	case found != nil && (a.Interface != "" && a.MAC != "" || a.Alias != ""):
		a.CreatedAt, a.Bound, a.Learned = d.now, nil, nil // it takes the one with these marks
	case found != nil:
		met = true
		a.CreatedAt, a.Bound, a.Learned = d.now, found, nil
	case a.PID != 0 && status.State != "attached":
		a.CreatedAt, a.Learned = d.now, nil // the process of that number now
	}
	if reflect.DeepEqual(&a, before) {
		return nil
	}
	if !a.CreatedAt.Equal(before.CreatedAt) { // since when the host has it is known by that alone
		in, _, err := s.instance(ctx, a.Instance)
		if err != nil {
			return err
		}
		if err := s.served(ctx, d, in, before); err != nil {
			return err
		}
	}
	err = s.changeGuest(ctx, d, a.Instance, func(in *openimds.Instance) {
		if met {
			meet(in, *found)
		}
		in.Links = a.Links()
	})
	if err != nil {
		return err
	}
	if err := s.take(ctx, d, &a); err != nil {
		return err
	}
	d.put(was, &a)
	return nil
}

// DetachInstance takes an instance's attachment away; its guest is answered no more.
//
// Errors: InvalidInput/WrongState where it is not attached; NotFound/DoesNotExist.
func (s *Service) DetachInstance(ctx context.Context, name string) (openimds.Operation, error) {
	d, err := s.commit(ctx, "DetachInstance", func(d *draft) error {
		in, instanceWas, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		was, err := s.store.Get(ctx, records.AttachmentPrefix+name)
		if errors.Is(err, store.ErrNoRecord) {
			return openimds.Errorf(openimds.InvalidInput, openimds.WrongState, "The instance %s is not attached", name)
		}
		if err != nil {
			return storeFailed(err)
		}
		if before, err := records.DecodeAttachment(was); err == nil {
			if err := s.served(ctx, d, in, before); err != nil {
				return err
			}
		}
		if err := s.leave(ctx, d, was); err != nil {
			return err
		}
		if len(in.Links) > 0 { // it has the made-up ones again
			in.Links = nil
			d.noteInstance(instanceWas, in)
		}
		d.operation(instanceOperation("DetachInstance", in))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// Attachments lists the attachments, in the order of the instances' names. Those that cannot be read
// are left out.
func (s *Service) Attachments(ctx context.Context) ([]*openimds.Attachment, error) {
	page, err := s.store.List(ctx, store.Range{Prefix: records.AttachmentPrefix})
	if err != nil {
		return nil, storeFailed(err)
	}
	all := make([]*openimds.Attachment, 0, len(page.Records))
	for _, r := range page.Records {
		if a, err := records.DecodeAttachment(r); err == nil {
			all = append(all, a)
		}
	}
	return all, nil
}

// AttachmentsOf lists the attachments to a host, in the order of the instances' names, however many other hosts have.
func (s *Service) AttachmentsOf(ctx context.Context, host string) (all []*openimds.Attachment, err error) {
	page, err := s.store.List(ctx, store.Range{Prefix: records.PlacesOf(host)})
	if err != nil {
		return nil, storeFailed(err)
	}
	for _, r := range page.Records {
		there, err := records.Decode[place](r)
		if err != nil {
			continue // it holds nobody
		}
		for i := range there {
			if there[i].Region != s.elsewhere() {
				continue
			}
			// The attachment itself decides, as of a place that is taken.
			a, err := s.Attachment(ctx, there[i].Instance)
			if err != nil && openimds.KindOf(err) == openimds.Unavailable {
				return nil, err
			}
			if err == nil && a != nil && records.PlaceKey(a) == r.Key {
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, func(a, b *openimds.Attachment) int { return strings.Compare(a.Instance, b.Instance) })
	return all, nil
}

// walk tells of all records of a range, of which it has a page in memory at a time. They are not all of one moment.
func (s *Service) walk(ctx context.Context, r store.Range, do func(store.Record)) error {
	for r.Limit = readPage; ; {
		page, err := s.store.List(ctx, r)
		if err != nil {
			return storeFailed(err)
		}
		for _, one := range page.Records {
			do(one)
			r.After = one.Key
		}
		if !page.More {
			return nil
		}
	}
}

// Attachment returns the attachment of an instance; nil: it has none.
func (s *Service) Attachment(ctx context.Context, instance string) (*openimds.Attachment, error) {
	r, err := s.store.Get(ctx, records.AttachmentPrefix+instance)
	switch {
	case errors.Is(err, store.ErrNoRecord):
		return nil, nil
	case err != nil:
		return nil, storeFailed(err)
	}
	return records.DecodeAttachment(r)
}

// removeAttachment removes the attachment of an instance that is deleted in the same commit; an instance of
// the same name, later, is not attached.
func (s *Service) removeAttachment(ctx context.Context, d *draft, in *openimds.Instance) error {
	was, err := s.store.Get(ctx, records.AttachmentPrefix+in.Name)
	if errors.Is(err, store.ErrNoRecord) {
		d.changes = append(d.changes, store.Change{Verb: store.Check, Key: records.AttachmentPrefix + in.Name, If: store.IfAbsent})
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	if before, err := records.DecodeAttachment(was); err == nil {
		if err := s.served(ctx, d, in, before); err != nil {
			return err
		}
	}
	return s.leave(ctx, d, was)
}
