package control_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// place stands for a host that has found something else at an instance's place, when told so.
type place struct {
	state string
	found *openimds.Face
}

func (p *place) Guarded() []openimds.GuardedPlace                  { return nil }
func (p *place) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }

func (*place) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// binding is a service with the instances web-0 and web-1, and its host.
type binding struct {
	*fixture
	host  *place
	lease store.Lease
}

func newBinding(t *testing.T) *binding {
	b := &binding{host: &place{state: "waiting"}}
	b.fixture = newFixture(t, func(cfg *control.Config, _ *store.Store) { cfg.Attachments = b.host })
	if _, err := b.CreateInstances(t.Context(), launch("web-0", "web-1")); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.lease, err = b.JoinHost(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	return b
}

// attach has the host say how far it is, and attaches.
func (b *binding) attach(a openimds.Attachment) *openimds.Attachment {
	b.t.Helper()
	if before := b.attachment(a.Instance); before != nil {
		b.report(openimds.AttachmentStatus{Instance: a.Instance, CreatedAt: before.CreatedAt, State: b.host.state, Found: b.host.found})
	}
	if _, err := b.AttachInstance(b.t.Context(), a); err != nil {
		b.t.Fatal(err)
	}
	return b.attachment(a.Instance)
}

func (b *binding) report(s openimds.AttachmentStatus) {
	b.t.Helper()
	if err := b.ReportAttachments(b.t.Context(), b.lease, []openimds.AttachmentStatus{s}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *binding) attachment(name string) *openimds.Attachment {
	b.t.Helper()
	all, err := b.Attachments(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range all {
		if a.Instance == name {
			return a
		}
	}
	return nil
}

// find has the host tell what it found for an attachment.
func (b *binding) find(a *openimds.Attachment, face openimds.Face) *openimds.Attachment {
	b.t.Helper()
	if err := b.BindAttachments(b.t.Context(), []openimds.Binding{{Instance: a.Instance, CreatedAt: a.CreatedAt, Face: face}}); err != nil {
		b.t.Fatal(err)
	}
	return b.attachment(a.Instance)
}

func (b *binding) key(name string) []byte {
	b.t.Helper()
	in, err := b.Instance(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return in.TokenKey
}

var (
	tap0 = openimds.Attachment{Instance: "web-0", Interface: "tap0"}
	vm1  = openimds.Face{Boot: "b", Index: 7, Serial: 100}
	vm2  = openimds.Face{Boot: "b", Index: 8, Serial: 101}
)

// TestBound: an attachment is bound once, to what the host found first, and only to that.
func TestBound(t *testing.T) {
	b := newBinding(t)
	a := b.attach(tap0)
	if a.Bound != nil {
		t.Fatalf("bound to %+v before anything was found", a.Bound)
	}
	if a = b.find(a, vm1); a.Bound == nil || *a.Bound != vm1 {
		t.Fatalf("bound to %+v, want %+v", a.Bound, vm1)
	}
	b.host.state = "attached"
	before := *a
	if again := b.attach(tap0); !again.CreatedAt.Equal(before.CreatedAt) || *again.Bound != vm1 {
		t.Errorf("attached again with nothing changed: %+v, want %+v", again, before)
	}
	// Nothing is there at the moment: that is no reason to take whatever comes.
	b.host.state = "waiting"
	if again := b.attach(tap0); again.Bound == nil || *again.Bound != vm1 {
		t.Errorf("attached again while its link is away: %+v", again)
	}
	late := a
	late.CreatedAt = late.CreatedAt.Add(-time.Second)
	if now := b.find(late, vm2); *now.Bound != vm1 {
		t.Errorf("what was found for an earlier attachment binds this one: %+v", now.Bound)
	}
	if err := b.BindAttachments(t.Context(), []openimds.Binding{{Instance: "absent", Face: vm1}}); err != nil {
		t.Error(err)
	}
}

// TestAttachedAgain binds to what is there now, as another attachment: connections of the former are dead.
func TestAttachedAgain(t *testing.T) {
	b := newBinding(t)
	a := b.find(b.attach(tap0), vm1)
	b.host.found = &vm2
	again := b.attach(tap0)
	if *again.Bound != vm2 || !again.CreatedAt.After(a.CreatedAt) {
		t.Errorf("attached again: %+v, want it bound to %+v", again, vm2)
	}
	moved := tap0
	moved.Interface = "tap1"
	if _, err := b.AttachInstance(t.Context(), moved); err == nil || !strings.Contains(err.Error(), "attached already; detach it first") {
		t.Errorf("attached elsewhere without being detached: %v", err)
	}
	taken := tap0
	taken.Instance = "web-1"
	if _, err := b.AttachInstance(t.Context(), taken); err == nil || !strings.Contains(err.Error(), "web-0 is attached to that place") {
		t.Errorf("another instance at that place: %v", err)
	}
}

// TestMarksAskedForAnew changes by what an attachment knows its link, without ending it.
func TestMarksAskedForAnew(t *testing.T) {
	b := newBinding(t)
	a := b.find(b.attach(tap0), vm1)
	b.host.state = "attached"
	byName := tap0
	byName.ByName = true
	if now := b.attach(byName); !now.ByName || now.Bound != nil || !now.CreatedAt.Equal(a.CreatedAt) {
		t.Errorf("by name: %+v", now)
	}
	if now := b.find(a, vm2); now.Bound != nil {
		t.Errorf("what goes by its name is bound to %+v", now.Bound)
	}
	marked := tap0
	marked.MAC, marked.Alias = "52:54:00:12:34:56", "web"
	now := b.attach(marked)
	if now.ByName || now.MAC != marked.MAC || now.Alias != marked.Alias || !now.CreatedAt.Equal(a.CreatedAt) {
		t.Errorf("by marks: %+v", now)
	}
	b.find(now, vm1)
	b.host.state, b.host.found = "waiting", &vm2 // which has them not
	if now = b.attach(marked); now.Bound != nil {
		t.Errorf("asked for marks, and bound to what has them not: %+v", now.Bound)
	}
}

// TestAnotherGuestsTokens: with another guest an instance has another token key, however it came to be
// bound to it; with the same one it keeps it.
func TestAnotherGuestsTokens(t *testing.T) {
	marked := func(f openimds.Face) openimds.Face { f.MAC = "fe:54:00:12:34:56"; return f }
	rebind := func(b *binding, next openimds.Face) {
		b.host.found = &next
		b.attach(tap0)
	}
	detach := func(b *binding, next openimds.Face) {
		if _, err := b.DetachInstance(b.t.Context(), "web-0"); err != nil {
			b.t.Fatal(err)
		}
		b.find(b.attach(tap0), next)
	}
	noted := func(b *binding, next openimds.Face) { b.find(b.attachment("web-0"), next) }
	for name, c := range map[string]struct {
		first, next openimds.Face
		how         func(*binding, openimds.Face)
		renewed     bool
	}{
		"attached again, another link":              {vm1, vm2, rebind, true},
		"attached again, the same marks":            {marked(vm1), marked(vm2), rebind, false},
		"attached again, other marks":               {marked(vm1), vm2, rebind, true},
		"detached, then the same link":              {vm1, vm1, detach, false},
		"detached, then the same link, with marks":  {vm1, marked(vm1), detach, false},
		"detached, then another link":               {vm1, vm2, detach, true},
		"detached, then the number of another boot": {vm1, openimds.Face{Boot: "c", Index: 7, Serial: 100}, detach, true},
		"recognized by the host":                    {marked(vm1), marked(vm2), noted, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBinding(t)
			at := b.key("web-0")
			b.find(b.attach(tap0), c.first)
			if !bytes.Equal(at, b.key("web-0")) {
				t.Error("the first guest made the tokens of before worthless")
			}
			c.how(b, c.next)
			if renewed := !bytes.Equal(at, b.key("web-0")); renewed != c.renewed {
				t.Errorf("the token key was renewed: %v, want %v", renewed, c.renewed)
			}
			if now := b.attachment("web-0"); now.Bound == nil || *now.Bound != c.next {
				t.Errorf("bound to %+v, want %+v", now.Bound, c.next)
			}
		})
	}
}

// TestAttachmentOfBefore: a record of the first schema has no face, and is bound at first sight; a program
// that knows only that schema must not read one that has.
func TestAttachmentOfBefore(t *testing.T) {
	b := newBinding(t)
	old := store.Change{
		Verb: store.Put, Key: records.AttachmentPrefix + "web-0", If: store.Whatever,
		Value: []byte(`{"schema":1,"data":{"instance":"web-0","interface":"tap0","createdAt":"2026-01-02T03:04:05Z"}}`),
	}
	if _, err := b.store.Commit(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if a := b.find(b.attachment("web-0"), vm1); a.Bound == nil || *a.Bound != vm1 {
		t.Fatalf("bound to %+v", a.Bound)
	}
	r, err := b.store.Get(t.Context(), records.AttachmentPrefix+"web-0")
	if err != nil || !bytes.Contains(r.Value, []byte(`"schema":3`)) {
		t.Errorf("the record is %s, %v", r.Value, err)
	}
}

// TestBoundBesideDamaged: an instance that cannot be read is not bound, and all others are, in commits that a
// fleet's store takes.
func TestBoundBesideDamaged(t *testing.T) {
	f := newFixture(t, func(cfg *control.Config, _ *store.Store) { cfg.Attachments = &place{} })
	var names []string
	for i := range 80 {
		names = append(names, fmt.Sprint("web-", i))
	}
	for few := range slices.Chunk(names, 20) {
		if _, err := f.CreateInstances(t.Context(), launch(few...)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if _, err := f.AttachInstance(t.Context(), openimds.Attachment{Instance: name, Interface: "tap-" + name}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := f.Attachments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var bindings []openimds.Binding
	for _, a := range all {
		bindings = append(bindings, openimds.Binding{Instance: a.Instance, CreatedAt: a.CreatedAt, Face: vm1})
	}
	for _, name := range []string{"web-0", "web-50"} {
		change := store.Change{Key: records.InstancePrefix + name, Value: []byte("{}"), If: store.Whatever}
		if _, err := f.store.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.BindAttachments(t.Context(), bindings); openimds.KindOf(err) != openimds.Internal {
		t.Errorf("an instance that cannot be read: %v", err)
	}
	if all, err = f.Attachments(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if damaged := a.Instance == "web-0" || a.Instance == "web-50"; (a.Bound == nil) != damaged {
			t.Errorf("%s is bound to %v", a.Instance, a.Bound)
		}
	}
}
