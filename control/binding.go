package control

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// sameGuest says whether the guest behind both faces is the same, as far as they tell.
func sameGuest(f openimds.Face, now openimds.Face) bool {
	if lasting := (openimds.Face{MAC: f.MAC, Alias: f.Alias}); lasting != (openimds.Face{}) && lasting == (openimds.Face{MAC: now.MAC, Alias: now.Alias}) {
		return true
	}
	f.MAC, f.Alias, now.MAC, now.Alias = "", "", "", ""
	return f.Boot != "" && f == now
}

// maxBound is how many bindings one commit makes, in three changes each; see maxEnded.
const maxBound = 30

// BindAttachments keeps what attachments are bound to, and what their guests have, as the host found it. Those that are attached
// otherwise by now stay as they are.
//
// An error is the first of several: the bindings that are not kept are as they were, and all others are kept. What no
// guest can have is not learned and is no error (InvalidInput/Malformed, InvalidInput/Reserved, InvalidInput/Duplicate
// and InvalidInput/TooMany of [openimds.ValidateGuestLinks]).
func (s *Service) BindAttachments(ctx context.Context, bindings []openimds.Binding) error {
	var failed error
	for batch := range slices.Chunk(bindings, maxBound) {
		var left error // what cannot be read keeps no other instance from being answered
		_, err := s.commit(ctx, "BindAttachment", func(d *draft) error {
			left = nil
			for _, b := range batch {
				left = cmp.Or(left, s.bind(ctx, d, b))
			}
			return nil
		})
		failed = cmp.Or(failed, left, err)
	}
	return failed
}

func (s *Service) bind(ctx context.Context, d *draft, b openimds.Binding) error {
	was, err := s.store.Get(ctx, records.AttachmentPrefix+b.Instance)
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	a, err := records.DecodeAttachment(was)
	if err != nil || a.Host != s.cfg.Host || !a.CreatedAt.Equal(b.CreatedAt) {
		return nil
	}
	before := *a
	binds := b.Face != openimds.Face{} && !a.ByName && a.PID == 0
	first := binds && a.Bound == nil
	if binds {
		a.Bound = &b.Face
	}
	if b.Links != nil && openimds.ValidateGuestLinks(b.Links) == nil { // what nobody can have was not learned
		a.Learned = b.Links
	}
	if reflect.DeepEqual(a, &before) {
		return nil
	}
	err = s.changeGuest(ctx, d, b.Instance, func(in *openimds.Instance) {
		if first {
			meet(in, b.Face)
		}
		in.Links = a.Links()
	})
	if err != nil {
		return err
	}
	d.note(was, a)
	return nil
}

// changeGuest drafts what an instance's attachment makes of it, if that is anything else than before. An instance
// that is not there stays so.
func (s *Service) changeGuest(ctx context.Context, d *draft, name string, change func(in *openimds.Instance)) error {
	in, was, err := s.instance(ctx, name)
	if openimds.KindOf(err) == openimds.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	before := *in
	change(in)
	if in.Bound == before.Bound && reflect.DeepEqual(in.Links, before.Links) {
		return nil
	}
	d.noteInstance(was, in)
	return nil
}

// meet has an instance have the guest behind a face from now on. If that is not the one before it
// begins a new life: the session tokens of that one are good no more.
func meet(in *openimds.Instance, face openimds.Face) {
	if in.Bound != nil && !sameGuest(*in.Bound, face) {
		in.TokenKey = openimds.NewTokenKey()
	}
	in.Bound = &face
}
