package control

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// place is those who are attached there, in the order in which they came.
type place []openimds.Attachment

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
	for _, other := range p {
		if other.Instance == a.Instance || !conflicts(&other, a) {
			continue
		}
		// The attachment itself decides: its record may have been lost without the place's.
		switch _, err := s.store.Get(ctx, records.AttachmentPrefix+other.Instance); {
		case err == nil:
			return openimds.Errorf(openimds.InvalidInput, openimds.InUse, "The instance %s is attached to that place; detach it first", other.Instance)
		case !errors.Is(err, store.ErrNoRecord):
			return storeFailed(err)
		}
		p = p.without(other.Instance)
	}
	d.note(was, append(p.without(a.Instance), *a))
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
	p, was, err := s.place(ctx, records.PlaceKey(a))
	if err != nil || was.Revision == store.IfAbsent {
		return err
	}
	if p = p.without(a.Instance); len(p) > 0 {
		d.note(was, p)
	} else {
		d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
	}
	return nil
}

func (p place) without(instance string) place {
	return slices.DeleteFunc(slices.Clone(p), func(a openimds.Attachment) bool { return a.Instance == instance })
}
