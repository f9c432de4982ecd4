package control

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// place is those who are attached there, in the order in which they came.
type place []records.Placed

// elsewhere is this service's region, as places have it.
func (s *Service) elsewhere() string {
	if s.cfg.Region == cmp.Or(s.cfg.HomeRegion, s.cfg.Region) {
		return ""
	}
	return s.cfg.Region
}

// whole is the store of all regions.
func (s *Service) whole() store.Store {
	if s.cfg.Whole != nil {
		return s.cfg.Whole
	}
	return s.store
}

// parts are what the keys of each region begin with in the store of all, also of those that this server does not have.
func parts(ctx context.Context, whole store.Store) ([]string, error) {
	further, err := records.FurtherRegions(ctx, whole)
	if err != nil {
		return nil, storeFailed(err)
	}
	all := []string{""}
	for _, region := range further {
		all = append(all, partOf(region))
	}
	return all, nil
}

// partOf is that of a region as places have it.
func partOf(region string) string {
	if region == "" {
		return ""
	}
	return records.RegionKey(region)
}

// attachmentOf gets the record of an attachment of whatever region.
func (s *Service) attachmentOf(ctx context.Context, p *records.Placed) (store.Record, error) {
	key := records.AttachmentPrefix + p.Instance
	if p.Region == s.elsewhere() || s.cfg.Whole == nil {
		return s.store.Get(ctx, key)
	}
	return s.cfg.Whole.Get(ctx, partOf(p.Region)+key)
}

// inUse refuses a place that another one has.
func (s *Service) inUse(other *records.Placed) error {
	if other.Region == s.elsewhere() {
		return openimds.Errorf(openimds.InvalidInput, openimds.InUse, "The instance %s is attached to that place; detach it first", other.Instance)
	}
	region := cmp.Or(other.Region, s.cfg.HomeRegion)
	return openimds.Errorf(openimds.InvalidInput, openimds.InUse, "The instance %s of the region %s is attached to that place; detach it there first", other.Instance, region)
}

func (s *Service) place(ctx context.Context, key string) (place, store.Record, error) {
	was, err := s.store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return nil, store.Record{Key: key, Revision: store.IfAbsent}, nil
	}
	if err != nil {
		return nil, was, storeFailed(err)
	}
	p, err := read[place](was)
	return p, was, err
}

// take drafts that an attachment has its place, and refuses one that another has.
func (s *Service) take(ctx context.Context, d *draft, a *openimds.Attachment) error {
	p, was, err := s.place(ctx, records.PlaceKey(a))
	if err != nil {
		return err
	}
	own := records.Placed{Attachment: *a, Region: s.elsewhere()}
	for _, other := range p {
		if other.Is(&own) || !conflicts(&other.Attachment, a) {
			continue
		}
		// The attachment itself decides: its record may have been lost without the place's.
		switch _, err := s.attachmentOf(ctx, &other); {
		case err == nil:
			return s.inUse(&other)
		case !errors.Is(err, store.ErrNoRecord):
			return storeFailed(err)
		}
		p = p.without(&other)
	}
	d.note(was, append(p.without(&own), own))
	return nil
}

// leave drafts the end of an attachment, which frees its place.
func (s *Service) leave(ctx context.Context, d *draft, attached store.Record) error {
	d.remove(attached)
	instance := strings.TrimPrefix(attached.Key, records.AttachmentPrefix)
	d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: records.StatusKey(instance), If: store.Whatever})
	a, err := records.DecodeAttachment(attached)
	if err != nil {
		return nil // it attaches nobody, and nobody knows where
	}
	return s.leavePlace(ctx, d, a)
}

// leavePlace drafts that an attachment has its place no more.
func (s *Service) leavePlace(ctx context.Context, d *draft, a *openimds.Attachment) error {
	p, was, err := s.place(ctx, records.PlaceKey(a))
	if err != nil || was.Revision == store.IfAbsent {
		return err
	}
	if p = p.without(&records.Placed{Attachment: *a, Region: s.elsewhere()}); len(p) > 0 {
		d.note(was, p)
	} else {
		d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
	}
	return nil
}

func (p place) without(one *records.Placed) place {
	return slices.DeleteFunc(slices.Clone(p), func(other records.Placed) bool { return other.Is(one) })
}
