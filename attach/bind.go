package attach

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
)

// Bind is told by the host what it has found for an endpoint ([hostnet.Config]).
func (a *Attachments) Bind(id string, face hostnet.Face) {
	name, created := InstanceOf(id), createdAt(id)
	if created.IsZero() {
		return // the ID is not one of [EndpointID]
	}
	a.mu.Lock()
	if wanted := a.wanted[name]; wanted.ID == id && wanted.Bound == nil {
		a.unbound[name] = true
	}
	binding := openimds.Binding{Instance: name, CreatedAt: created, Face: openimds.Face(face)}
	if was := a.found[name]; was.CreatedAt.Equal(created) {
		binding.Links = was.Links
	}
	a.found[name] = binding
	a.mu.Unlock()
	a.tellFound()
}

// Learn is told by the host what it has learned of an endpoint's guest ([hostnet.Config]).
func (a *Attachments) Learn(id string, links []hostnet.GuestLink) {
	name, created := InstanceOf(id), createdAt(id)
	if created.IsZero() {
		return // the ID is not one of [EndpointID]
	}
	learned := make([]openimds.GuestLink, 0, len(links))
	for _, l := range links {
		learned = append(learned, openimds.GuestLink(l))
	}
	a.mu.Lock()
	binding := a.found[name]
	if !binding.CreatedAt.Equal(created) {
		binding = openimds.Binding{Instance: name, CreatedAt: created}
	}
	binding.Links = learned
	a.found[name] = binding
	a.mu.Unlock()
	a.tellFound()
}

func (a *Attachments) tellFound() {
	select {
	case a.anyFound <- struct{}{}:
	default:
	}
}

// bind has kept what was found, until the context ends. What cannot be kept now the host finds again.
func (a *Attachments) bind(ctx context.Context) {
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-a.anyFound:
		}
		a.mu.Lock()
		all := slices.Collect(maps.Values(a.found))
		clear(a.found)
		a.mu.Unlock()
		err := a.cfg.Binder.BindAttachments(ctx, all)
		if err != nil && ctx.Err() == nil {
			a.mu.Lock()
			unanswered := len(a.unbound)
			clear(a.unbound)
			a.keepLearned(all)
			a.mu.Unlock()
			if !failing { // one line, not one a second for as long as it takes
				a.cfg.Log.Error("what the host has found at attachments could not be kept; trying again", "error", err, "unanswered", unanswered)
			}
			a.tellSettled()
			select {
			case <-ctx.Done():
			case <-time.After(reportAgain):
			}
			a.tellFound()
		}
		failing = err != nil
	}
}

// keepLearned notes again what guests have: the host tells of it once. a.mu is held.
func (a *Attachments) keepLearned(all []openimds.Binding) {
	for _, b := range all {
		if _, newer := a.found[b.Instance]; !newer && b.Links != nil {
			b.Face = openimds.Face{}
			a.found[b.Instance] = b
		}
	}
}
