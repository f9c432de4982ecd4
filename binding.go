package openimds

import (
	"context"
	"errors"
	"time"
)

// Face is what a host knows a link or a namespace by, so that the next one of its name is not taken for it.
type Face struct {
	// Boot is the boot in which the numbers mean something: the index of the link, the kernel's own
	// number of it, and the cookie of the namespace.
	Boot   string `json:"boot,omitempty"`
	Index  int    `json:"index,omitempty"`
	Serial uint64 `json:"serial,omitempty"`
	Cookie uint64 `json:"cookie,omitempty"`
	// MAC and Alias last: whoever makes the link anew for the same guest sets the same.
	MAC   string `json:"mac,omitempty"`
	Alias string `json:"alias,omitempty"`
}

// sameGuest says whether the guest behind both faces is the same, as far as they tell.
func (f Face) sameGuest(now Face) bool {
	if lasting := (Face{MAC: f.MAC, Alias: f.Alias}); lasting != (Face{}) && lasting == (Face{MAC: now.MAC, Alias: now.Alias}) {
		return true
	}
	f.MAC, f.Alias, now.MAC, now.Alias = "", "", "", ""
	return f.Boot != "" && f == now
}

// Binding says that an attachment, the one that was made at CreatedAt, is bound to a face.
type Binding struct {
	Instance  string
	CreatedAt time.Time
	Face      Face
}

// maxBound is how many bindings one commit makes; see maxEnded.
const maxBound = 40

// BindAttachments keeps what attachments are bound to, as the host found it. Those that are attached
// otherwise by now stay as they are.
func (s *Service) BindAttachments(ctx context.Context, bindings []Binding) error {
	for len(bindings) > 0 {
		n := min(len(bindings), maxBound)
		_, err := s.commit(ctx, "BindAttachment", func(d *draft) error {
			for _, b := range bindings[:n] {
				if err := s.bind(ctx, d, b); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		bindings = bindings[n:]
	}
	return nil
}

func (s *Service) bind(ctx context.Context, d *draft, b Binding) error {
	was, err := s.store.Get(ctx, AttachmentPrefix+b.Instance)
	if errors.Is(err, ErrNoRecord) {
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	a, err := DecodeAttachment(was)
	if err != nil || !a.CreatedAt.Equal(b.CreatedAt) || a.ByName || a.PID != 0 || a.Bound != nil && *a.Bound == b.Face {
		return nil
	}
	if a.Bound == nil {
		if err := s.meet(ctx, d, b.Instance, b.Face); err != nil {
			return err
		}
	}
	a.Bound = &b.Face
	d.note(was, a)
	return nil
}

// meet drafts that an instance has the guest behind a face from now on. If that is not the one before it
// begins a new life: the session tokens of that one are good no more.
func (s *Service) meet(ctx context.Context, d *draft, name string, face Face) error {
	in, was, err := s.instance(ctx, name)
	if KindOf(err) == NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if in.Bound != nil && !in.Bound.sameGuest(face) {
		in.TokenKey = NewTokenKey()
	}
	in.Bound = &face
	d.note(was, in)
	return nil
}
