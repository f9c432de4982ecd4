package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// overtaken is a store where something happens just before a commit.
type overtaken struct {
	store.Store
	before func()
}

func (o *overtaken) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if before := o.before; before != nil {
		o.before = nil
		before()
	}
	return o.Store.Commit(ctx, changes...)
}

// TestEnrolmentEndsMeanwhile: what a host asks for is not done if its enrolment ends before it is committed, and is
// done if only its certificate was renewed.
func TestEnrolmentEndsMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		of  string // whose enrolment stands afterwards; empty: none does
		err error
	}{
		"renewed":     {"id", nil},
		"evicted":     {"", control.ErrEnded},
		"joined anew": {"another", control.ErrEnded},
	} {
		t.Run(name, func(t *testing.T) {
			var o *overtaken
			f := newFixture(t, func(_ *control.Config, s *store.Store) { o = &overtaken{Store: *s}; *s = o })
			enroll := func(id string) {
				t.Helper()
				change := store.Change{Verb: store.Delete, Key: records.EnrolledKey("host-1"), If: store.Whatever}
				if id != "" {
					value, err := records.Encode(records.Enrolled{ID: id, JoinedAt: f.clock(), CertificateEnds: f.clock().Add(time.Hour)})
					if err != nil {
						t.Fatal(err)
					}
					change.Verb, change.Value = store.Put, value
				}
				if _, err := o.Store.Commit(t.Context(), change); err != nil {
					t.Fatal(err)
				}
			}
			enroll("id")
			h := f.ForHost(control.HostProcess{Name: "host-1", Process: openimds.NewUUID(), Enrolment: "id", Attaches: true})
			overtaken := false
			o.before = func() { overtaken = true; enroll(c.of) }
			lease, err := h.JoinHost(t.Context(), true)
			if !errors.Is(err, c.err) || !overtaken {
				t.Fatalf("the host is told %v, overtaken %v", err, overtaken)
			}
			_, there := o.Get(t.Context(), records.HostKey("host-1"))
			if (there == nil) != (c.err == nil) {
				t.Errorf("the host is there: %v", there)
			}
			if c.err != nil {
				return
			}
			if err := h.KeepHost(t.Context(), lease); err != nil {
				t.Fatal(err)
			}
			enroll("another")
			for what, err := range map[string]error{
				"kept": h.KeepHost(t.Context(), lease), "left": h.LeaveHost(t.Context(), lease), "known": h.Enrolled(t.Context()),
			} {
				if !errors.Is(err, control.ErrEnded) {
					t.Errorf("by an enrolment that has ended the host is %s: %v", what, err)
				}
			}
		})
	}
}
