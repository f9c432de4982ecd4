package openimds

import (
	"context"
	"errors"
	"slices"
	"strconv"
)

// placePrefix leads the keys of places: who is attached to one interface, namespace or process. By
// these records attachments to the same place find each other however many there are, and two that
// come at the same moment meet.
const placePrefix = "place/"

// place is those who are attached there, in the order in which they came.
type place []Attachment

func (a *Attachment) placeKey() string {
	switch {
	case a.Interface != "":
		return placePrefix + "interface/" + a.Interface
	case a.Netns != "":
		return placePrefix + "netns/" + a.Netns
	}
	return placePrefix + "process/" + strconv.Itoa(a.PID)
}

func (s *Service) place(ctx context.Context, key string) (place, Record, error) {
	was, err := s.store.Get(ctx, key)
	if errors.Is(err, ErrNoRecord) {
		return nil, Record{Key: key, Revision: IfAbsent}, nil
	}
	if err != nil {
		return nil, was, storeFailed(err)
	}
	p, err := read[place](was)
	return p, was, err
}

// take drafts that an attachment has its place, and refuses one that another has.
func (s *Service) take(ctx context.Context, d *draft, a *Attachment) error {
	p, was, err := s.place(ctx, a.placeKey())
	if err != nil {
		return err
	}
	for _, other := range p {
		if other.Instance == a.Instance || !other.conflicts(a) {
			continue
		}
		// The attachment itself decides: its record may have been lost without the place's.
		switch _, err := s.store.Get(ctx, AttachmentPrefix+other.Instance); {
		case err == nil:
			return Errorf(InvalidInput, "", "The instance %s is attached to that place; detach it first", other.Instance)
		case !errors.Is(err, ErrNoRecord):
			return storeFailed(err)
		}
		p = p.without(other.Instance)
	}
	d.note(was, append(p.without(a.Instance), *a))
	return nil
}

// leave drafts the end of an attachment, which frees its place.
func (s *Service) leave(ctx context.Context, d *draft, attached Record) error {
	d.remove(attached)
	a, err := DecodeAttachment(attached)
	if err != nil {
		return nil // it attaches nobody, and nobody knows where
	}
	p, was, err := s.place(ctx, a.placeKey())
	if err != nil || was.Revision == IfAbsent {
		return err
	}
	if p = p.without(a.Instance); len(p) > 0 {
		d.note(was, p)
	} else {
		d.changes = append(d.changes, Change{Verb: Delete, Key: was.Key, If: was.Revision})
	}
	return nil
}

func (p place) without(instance string) place {
	return slices.DeleteFunc(slices.Clone(p), func(a Attachment) bool { return a.Instance == instance })
}
