package control_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// guards stands for a host that guards two places.
type guards struct {
	released [][]string
	fails    error
}

func (*guards) Guarded() []openimds.GuardedPlace {
	return []openimds.GuardedPlace{{Interface: "tap0"}, {Netns: "/run/netns/web"}}
}

func (g *guards) Release(names []string) ([]openimds.GuardedPlace, error) {
	g.released = append(g.released, names)
	return nil, g.fails
}

func (*guards) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// TestReleaseIsAudited: to end a guard is a change like others, with its line before it is made.
func TestReleaseIsAudited(t *testing.T) {
	host := &guards{}
	var unwritable error
	f := newFixture(t, func(c *control.Config, _ *store.Store) {
		c.Attachments = host
		told := c.Audit
		c.Audit = func(ctx context.Context, entries ...openimds.AuditEntry) error {
			if unwritable != nil {
				return unwritable
			}
			return told(ctx, entries...)
		}
	})
	resources := func() (all []string) {
		for _, e := range f.audit() {
			if e.What != "ReleasePlaces" || e.Who != "AKID (ops)" || e.When.IsZero() {
				t.Errorf("the release was told as %+v", e)
			}
			if e.Before != nil {
				e.Resource += " " + show(t, e.Before)
			}
			all = append(all, e.Resource)
		}
		return all
	}
	ctx := control.WithActor(t.Context(), "AKID (ops)")
	for _, c := range []struct{ asked, told []string }{
		{[]string{"tap0"}, []string{"Place/tap0"}},
		{nil, []string{`Place/* {"guarded":["tap0","/run/netns/web"]}`}}, // all
	} {
		if _, err := f.ReleasePlaces(ctx, c.asked); err != nil {
			t.Fatal(err)
		}
		if got := resources(); !slices.Equal(got, c.told) {
			t.Errorf("the release of %q was told of %q, want %q", c.asked, got, c.told)
		}
	}
	host.fails = errors.New("the kernel does not")
	if _, err := f.ReleasePlaces(ctx, []string{"tap0"}); err == nil {
		t.Error("a release that failed is none")
	}
	if told := f.audited(); len(told) != 2 || told[0].Failure != "" || told[1].Failure == "" || told[0].Change != told[1].Change {
		t.Errorf("a release that failed was told as %+v", told)
	}
	before := len(host.released)
	unwritable = errors.New("full")
	if _, err := f.ReleasePlaces(ctx, []string{"tap0"}); openimds.KindOf(err) != openimds.Unavailable || len(host.released) != before {
		t.Errorf("without its line a place was released: %v", err)
	}
}
