package control_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/store/storetest"
)

// hosts are two of them and a replica of the API beside, on one store.
type hosts struct {
	t             *testing.T
	store         store.Store
	one, two, api *control.Service
	leases        map[*control.Service]store.Lease
}

func newHosts(t *testing.T) *hosts {
	h := &hosts{t: t, store: storetest.Lasting(mem.New()), leases: map[*control.Service]store.Lease{}}
	join := func(name string, attaches control.Attachments) *control.Service {
		s := control.New(bounded{h.store, t}, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: name, Attachments: attaches})
		lease, err := s.JoinHost(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		h.leases[s] = lease
		return s
	}
	h.one, h.two, h.api = join("one", carried{}), join("two", carried{}), join("api", nil)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("web-", i))
	}
	if _, err := h.api.CreateInstances(t.Context(), launch(names...)); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hosts) attach(instance, host, link string) *openimds.Attachment {
	h.t.Helper()
	if _, err := h.api.AttachInstance(h.t.Context(), openimds.Attachment{Instance: instance, Host: host, Interface: link}); err != nil {
		h.t.Fatal(err)
	}
	all, err := h.api.Attachments(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, a := range all {
		if a.Instance == instance {
			return a
		}
	}
	h.t.Fatalf("%s is not attached", instance)
	return nil
}

func (h *hosts) report(s *control.Service, all ...openimds.AttachmentStatus) {
	h.t.Helper()
	if err := s.ReportAttachments(h.t.Context(), h.leases[s], all); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) status(a *openimds.Attachment) openimds.AttachmentStatus {
	h.t.Helper()
	all, err := h.api.AttachmentStatuses(h.t.Context(), []*openimds.Attachment{a})
	if err != nil {
		h.t.Fatal(err)
	}
	return all[0]
}

func attached(a *openimds.Attachment) openimds.AttachmentStatus {
	return openimds.AttachmentStatus{Instance: a.Instance, CreatedAt: a.CreatedAt, State: "attached"}
}

// TestPlacesOfHosts: a link of one name on two hosts is two places; a host that is not there, or attaches
// nothing, gets nobody.
func TestPlacesOfHosts(t *testing.T) {
	h := newHosts(t)
	first, second := h.attach("web-0", "one", "tap0"), h.attach("web-1", "two", "tap0")
	if first.Host != "one" || second.Host != "two" {
		t.Errorf("attached on %s and %s", first.Host, second.Host)
	}
	for host, message := range map[string]string{
		"one": "The instance web-0 is attached to that place; detach it first",
		"two": "The instance web-1 is attached to that place; detach it first",
		"api": "This server cannot attach instances: it needs Linux and the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN; start it as root",
		"":    "This server cannot attach instances: it needs Linux and the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN; start it as root",
		"far": "There is no host far; see which there are, or enroll it first",
	} {
		if _, err := h.api.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-2", Host: host, Interface: "tap0"}); err == nil || err.Error() != message {
			t.Errorf("attached to tap0 of %q: %v", host, err)
		}
	}
	if _, err := h.api.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-0", Host: "two", Interface: "tap0"}); err == nil {
		t.Error("an instance moved to a place that another one has")
	}
	if _, err := h.api.DetachInstance(t.Context(), "web-0"); err != nil {
		t.Fatal(err)
	}
	if again := h.attach("web-2", "one", "tap0"); again.Host != "one" {
		t.Errorf("attached on %s", again.Host)
	}
}

// TestStatusInTheStore: any replica tells what a host has told, of just that attachment, and not longer than the
// host is there; what is told twice is written once.
func TestStatusInTheStore(t *testing.T) {
	h := newHosts(t)
	a := h.attach("web-0", "one", "tap0")
	expect := func(state, reason string) {
		t.Helper()
		if s := h.status(a); s.State != state || s.Reason != reason || s.Instance != "web-0" || !s.CreatedAt.Equal(a.CreatedAt) {
			t.Errorf("the attachment is %+v, want %s: %s", s, state, reason)
		}
	}
	expect("waiting", "it is being attached")
	h.report(h.two, attached(a)) // which is not its host
	expect("waiting", "it is being attached")
	earlier := attached(a)
	earlier.CreatedAt = earlier.CreatedAt.Add(-1)
	h.report(h.one, earlier, openimds.AttachmentStatus{Instance: "absent", State: "attached"})
	expect("waiting", "it is being attached")
	told := attached(a)
	told.Reason, told.Found = "so", &openimds.Face{Boot: "b", Index: 7}
	h.report(h.one, told)
	expect("attached", "so")
	if s := h.status(a); s.Found == nil || *s.Found != *told.Found || s.At.IsZero() {
		t.Errorf("the attachment is %+v", s)
	}
	before, err := h.store.Get(t.Context(), records.StatusKey("web-0"))
	if err != nil {
		t.Fatal(err)
	}
	h.report(h.one, told)
	if now, err := h.store.Get(t.Context(), records.StatusKey("web-0")); err != nil || now.Revision != before.Revision {
		t.Errorf("a status that is known was written again, %v", err)
	}
	if _, err := h.one.JoinHost(t.Context(), true); err != nil { // another process of the host
		t.Fatal(err)
	}
	expect("waiting", "it is being attached")
	page, err := h.store.List(t.Context(), store.Range{Prefix: records.HostKey("one")})
	if err != nil {
		t.Fatal(err)
	}
	h.leases[h.one] = page.Records[0].Lease
	h.report(h.one, told)
	expect("attached", "so")
	if err := h.store.Revoke(t.Context(), h.leases[h.one]); err != nil {
		t.Fatal(err)
	}
	expect("unknown", "the host one is not there")
	if err := h.one.ReportAttachments(t.Context(), h.leases[h.one], []openimds.AttachmentStatus{told}); openimds.KindOf(err) != openimds.Unavailable {
		t.Errorf("a host that is gone told something: %v", err)
	}
}

// TestManyStatuses tells of all at once; the store watches the size of commits. What is detached leaves nothing.
func TestManyStatuses(t *testing.T) {
	h := newHosts(t)
	const count = 60 // more than one commit tells
	for first := 20; first < count; first += 20 {
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprint("web-", first+i))
		}
		if _, err := h.api.CreateInstances(t.Context(), launch(names...)); err != nil {
			t.Fatal(err)
		}
	}
	var all []openimds.AttachmentStatus
	var last *openimds.Attachment
	for i := range count {
		last = h.attach(fmt.Sprint("web-", i), "one", fmt.Sprint("tap", i))
		all = append(all, attached(last))
	}
	h.report(h.one, all...)
	if s := h.status(last); s.State != "attached" {
		t.Errorf("the last of many is %+v", s)
	}
	for i := range count {
		if _, err := h.api.DetachInstance(t.Context(), fmt.Sprint("web-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if page, err := h.store.List(t.Context(), store.Range{Prefix: records.StatusPrefix}); err != nil || len(page.Records) > 0 {
		t.Errorf("%d statuses are left, %v", len(page.Records), err)
	}
}

// listless is a store that lists no statuses.
type listless struct {
	store.Store
	t *testing.T
}

func (l listless) List(ctx context.Context, r store.Range) (store.Page, error) {
	if r.Prefix == records.StatusPrefix {
		l.t.Error("all statuses are listed")
	}
	return l.Store.List(ctx, r)
}

// TestAttachedAgainAmongMany: who attaches one instance again reads the status of that one alone.
func TestAttachedAgainAmongMany(t *testing.T) {
	h := newHosts(t)
	h.report(h.one, attached(h.attach("web-0", "one", "tap0")))
	h.api = control.New(listless{h.store, t}, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: "api"})
	again := h.attach("web-0", "one", "tap0")
	if again.Host != "one" {
		t.Errorf("attached again on %s", again.Host)
	}
}

// asked is a host that knows how far the attachment of one time is.
type asked struct {
	carried
	status openimds.AttachmentStatus
}

func (a *asked) Status(instance string, createdAt time.Time) (openimds.AttachmentStatus, bool) {
	return a.status, instance == a.status.Instance && createdAt.Equal(a.status.CreatedAt)
}

// TestStatusOfOwn: what this host knows of its own attachments counts, whatever the store was told last; of those
// that it does not know, what the store was told.
func TestStatusOfOwn(t *testing.T) {
	h := newHosts(t)
	first, second := h.attach("web-0", "one", "tap0"), h.attach("web-1", "one", "tap1")
	h.report(h.one, attached(first), attached(second))
	own := openimds.AttachmentStatus{Instance: "web-0", CreatedAt: first.CreatedAt, State: "waiting", Reason: "its link is away"}
	one := control.New(h.store, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: "one", Attachments: &asked{status: own}})
	statuses, err := one.AttachmentStatuses(t.Context(), []*openimds.Attachment{first, second})
	if err != nil {
		t.Fatal(err)
	}
	if s := statuses[0]; s.State != own.State || s.Reason != own.Reason || s.At.IsZero() {
		t.Errorf("its own is %+v, want %+v", s, own)
	}
	if s := statuses[1]; s.State != "attached" {
		t.Errorf("one that it does not know is %+v", s)
	}
	in, err := one.Instance(t.Context(), "web-0")
	if err != nil {
		t.Fatal(err)
	}
	if health, err := one.Health(t.Context(), in); err != nil || !health.Checked || !health.Impaired || !health.Since.IsZero() {
		t.Errorf("an instance whose link is away: %+v, %v", health, err)
	}
	if s := h.status(first); s.State != "attached" {
		t.Errorf("to another service it is %+v", s)
	}
}
