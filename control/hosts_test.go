package control_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/store/within"
)

// at gets the attachment that an instance has now.
func (h *hosts) at(instance string) *openimds.Attachment {
	h.t.Helper()
	a, err := h.api.Attachment(h.t.Context(), instance)
	if err != nil || a == nil {
		h.t.Fatalf("%s is attached as %+v, %v", instance, a, err)
	}
	return a
}

func (h *hosts) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) from(instance string, want ...string) {
	h.t.Helper()
	if got := h.at(instance).From; !slices.Equal(got, want) {
		h.t.Errorf("the host of %s waits for %v, want %v", instance, got, want)
	}
}

// TestMove: the new host waits for the former one to let go; the guest stays the same, so that its tokens stay good.
func TestMove(t *testing.T) {
	h := newHosts(t)
	first := h.attach("web-0", "one", "tap0")
	h.must(h.one.TakeSeats(t.Context(), h.leases[h.one], "web-0"))
	h.must(h.one.BindAttachments(t.Context(), []openimds.Binding{{Instance: "web-0", CreatedAt: first.CreatedAt, Face: openimds.Face{Boot: "a", Index: 3, MAC: "52:54:00:00:00:01"}}}))
	h.report(h.one, attached(first))
	before, err := h.api.Instance(t.Context(), "web-0")
	h.must(err)

	second := h.attach("web-0", "two", "tap7")
	h.from("web-0", "one")
	if second.Bound != nil || second.CreatedAt.Equal(first.CreatedAt) || second.Interface != "tap7" {
		t.Errorf("it moved to %+v", second)
	}
	if s := h.status(second); s.State != "waiting" || !strings.Contains(s.Reason, "let go of by one") {
		t.Errorf("meanwhile it is %+v", s)
	}
	// What the former host still says of it is of no meaning.
	h.must(h.one.BindAttachments(t.Context(), []openimds.Binding{{Instance: "web-0", CreatedAt: first.CreatedAt, Face: openimds.Face{Boot: "x"}}}))
	h.report(h.one, attached(first))
	h.must(h.two.LetGo(t.Context(), "web-0", "absent")) // nor that another lets go
	h.must(h.api.SettleHosts(t.Context()))
	h.from("web-0", "one")
	if a := h.at("web-0"); a.Bound != nil {
		t.Errorf("it is bound to %+v", a.Bound)
	}
	h.must(h.one.LetGo(t.Context(), "web-0"))
	h.from("web-0")
	now := h.at("web-0")
	h.must(h.two.BindAttachments(t.Context(), []openimds.Binding{{Instance: "web-0", CreatedAt: now.CreatedAt, Face: openimds.Face{Boot: "b", Index: 9, MAC: "52:54:00:00:00:02"}}}))
	h.report(h.two, attached(now))
	if s := h.status(now); s.State != "attached" {
		t.Errorf("it is %+v", s)
	}
	after, err := h.api.Instance(t.Context(), "web-0")
	h.must(err)
	if !reflect.DeepEqual(before.TokenKey, after.TokenKey) || after.ID != before.ID {
		t.Error("its tokens are good no more")
	}
	if other := h.attach("web-1", "one", "tap0"); other.Host != "one" {
		t.Errorf("the former place is not free: %+v", other)
	}
	// Back, while the seat of the other is there; and on, before that one has let go.
	h.must(h.two.TakeSeats(t.Context(), h.leases[h.two], "web-0"))
	h.attach("web-0", "one", "tap3")
	h.from("web-0", "two")
	h.attach("web-0", "two", "tap7")
	h.from("web-0", "one")
	h.must(h.one.LetGo(t.Context(), "web-0"))
	h.from("web-0")
}

// TestMoveWithoutName: who names no host does not move an instance, least of all to the server that was asked.
func TestMoveWithoutName(t *testing.T) {
	h := newHosts(t)
	h.attach("web-0", "one", "tap0")
	_, err := h.two.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-0", Interface: "tap0"})
	if err == nil || err.Error() != "The instance web-0 is attached already; detach it first" {
		t.Errorf("the error is %v", err)
	}
	if a := h.at("web-0"); a.Host != "one" || a.From != nil {
		t.Errorf("it is %+v", a)
	}
}

// TestMoveFromGone: a host that is gone is not waited for, whether it went before the move or after it.
func TestMoveFromGone(t *testing.T) {
	h := newHosts(t)
	h.attach("web-0", "one", "tap0")
	h.attach("web-1", "one", "tap1")
	h.attach("web-0", "two", "tap0")
	h.from("web-0", "one")
	h.must(h.store.Revoke(t.Context(), h.leases[h.one]))
	h.attach("web-1", "two", "tap1")
	h.from("web-1")
	h.from("web-0", "one") // until one of all looks
	h.must(h.api.SettleHosts(t.Context()))
	h.from("web-0")
	all, err := h.api.Hosts(t.Context())
	h.must(err)
	for _, host := range all {
		if host.Name == "one" && (host.There || host.Left.IsZero()) {
			t.Errorf("the host that is gone is %+v", host)
		}
	}
}

// TestDetachedElsewhere: an instance that is detached and attached to another host is not answered there before its
// former host has let go, as little as one that is moved.
func TestDetachedElsewhere(t *testing.T) {
	h := newHosts(t)
	h.attach("web-0", "one", "tap0")
	h.must(h.one.TakeSeats(t.Context(), h.leases[h.one], "web-0"))
	_, err := h.api.DetachInstance(t.Context(), "web-0")
	h.must(err)
	h.attach("web-0", "two", "tap0")
	h.from("web-0", "one")
	h.must(h.one.LetGo(t.Context(), "web-0"))
	h.from("web-0")
}

// TestMoveIsRefused: a host that could not have the instance leaves it where it is.
func TestMoveIsRefused(t *testing.T) {
	h := newHosts(t)
	h.attach("web-0", "one", "tap0")
	h.attach("web-1", "two", "tap1")
	h.must(h.api.DrainHost(t.Context(), "one"))
	for host, says := range map[string]string{"far": "no host far", "two": "web-1 is attached to that place"} {
		_, err := h.api.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-0", Host: host, Interface: "tap1"})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("to %s: %v", host, err)
		}
	}
	if a := h.at("web-0"); a.Host != "one" || a.From != nil || a.Interface != "tap0" {
		t.Errorf("it is %+v", a)
	}
	h.must(h.store.Revoke(t.Context(), h.leases[h.two]))
	_, err := h.api.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-0", Host: "two", Interface: "tap2"})
	if err == nil || err.Error() != "The host two is not there now, so that nobody would carry it out; start it, or attach to another" {
		t.Errorf("to a host that is gone: %v", err)
	}
	_, err = h.api.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-1", Host: "two", Interface: "tap1"})
	if err == nil || !strings.HasPrefix(err.Error(), "The host two is not there now") {
		t.Errorf("again to its place on a host that is gone: %v", err)
	}
}

// TestDrain: a drained host keeps what it has, which may be bound anew, and gets nothing more, by itself neither.
func TestDrain(t *testing.T) {
	h := newHosts(t)
	h.attach("web-0", "one", "tap0")
	for range 2 {
		h.must(h.api.DrainHost(t.Context(), "one"))
	}
	for name, s := range map[string]*control.Service{"another": h.api, "itself": h.one} {
		_, err := s.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-1", Host: "one", Interface: "tap1"})
		e, ok := errors.AsType[*openimds.Error](err)
		if !ok || e.Code != openimds.WrongState || !strings.Contains(err.Error(), "The host one takes no new attachments: it is drained since 20") {
			t.Errorf("by %s: %v", name, err)
		}
	}
	h.attach("web-0", "one", "tap0") // again
	host, there, err := h.api.Host(t.Context(), "one")
	h.must(err)
	if host.Drained.IsZero() || host.Attachments != 1 || len(there) != 1 || there[0].Instance != "web-0" || !host.There || !host.Attaches || host.Since.IsZero() {
		t.Errorf("the drained host is %+v with %+v", host, there)
	}
	h.attach("web-0", "two", "tap0")
	for range 2 {
		h.must(h.api.UndrainHost(t.Context(), "one"))
	}
	h.attach("web-1", "one", "tap1")
	if _, _, err := h.api.Host(t.Context(), "far"); openimds.KindOf(err) != openimds.NotFound {
		t.Errorf("a host that nobody knows: %v", err)
	}
	for _, do := range []func() error{
		func() error { return h.api.DrainHost(t.Context(), "far") }, func() error { return h.api.UndrainHost(t.Context(), "far") },
		func() error { return h.api.EvictHost(t.Context(), "far") },
	} {
		if err := do(); openimds.KindOf(err) != openimds.NotFound {
			t.Errorf("of a host that nobody knows: %v", err)
		}
	}
	if err := h.api.EvictHost(t.Context(), "one"); openimds.KindOf(err) != openimds.OperationFailure {
		t.Errorf("a server that has the store itself is evicted: %v", err)
	}
}

// door is where hosts join.
type door struct{}

func (door) AuthorityPEM() []byte { return []byte("authority") }
func (door) Addresses() []string  { return []string{"10.0.0.1:1340"} }

// TestEnrollAndEvict: an invitation is shown once and kept as a sum, the next one takes its place, and what a host got by
// one ends when it is evicted. All stands in the audit log, and nothing of the token.
func TestEnrollAndEvict(t *testing.T) {
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.Door = door{} })
	for _, c := range []struct {
		name  string
		lasts time.Duration
	}{{"", time.Hour}, {"no/host", time.Hour}, {"host-1", -1}, {"host-1", 0}, {"host-1", 2 * time.Hour}, {"host-1", time.Millisecond}} {
		if _, err := f.EnrollHost(t.Context(), c.name, c.lasts); openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("%q for %s: %v", c.name, c.lasts, err)
		}
	}
	first, err := f.EnrollHost(t.Context(), "host-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	i, err := f.EnrollHost(t.Context(), "host-1", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if i.Host != "host-1" || i.Authority != "authority" || !slices.Equal(i.Replicas, []string{"10.0.0.1:1340"}) || i.Token == first.Token || i.Token.Host() != "host-1" {
		t.Errorf("the invitation is %+v", i)
	}
	page, err := f.store.List(t.Context(), store.Range{Prefix: records.JoinTokenPrefix})
	if err != nil || len(page.Records) != 1 {
		t.Fatalf("kept is %+v, %v", page.Records, err)
	}
	kept, err := records.Decode[records.JoinToken](page.Records[0])
	if err != nil || !slices.Equal(kept.Sum, i.Token.Sum()) || !kept.Until.Equal(i.Until) {
		t.Errorf("kept is %+v, %v", kept, err)
	}
	hosts, err := f.Hosts(t.Context())
	if err != nil || len(hosts) != 1 || !hosts[0].InvitedUntil.Equal(i.Until) || hosts[0].There {
		t.Errorf("the hosts are %+v, %v", hosts, err)
	}
	f.sleep(10 * time.Minute)
	if hosts, err = f.Hosts(t.Context()); err != nil || len(hosts) != 0 {
		t.Errorf("once nobody came the hosts are %+v, %v", hosts, err)
	}
	// It joins as hostcert has it do.
	enrolled, err := records.Encode(records.Enrolled{ID: "x", JoinedAt: start, CertificateEnds: start.Add(time.Hour)})
	if err == nil {
		_, err = f.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: records.JoinTokenKey("host-1"), If: store.Whatever},
			store.Change{Key: records.EnrolledKey("host-1"), Value: enrolled, If: store.IfAbsent})
	}
	if err != nil {
		t.Fatal(err)
	}
	host := control.New(f.store, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: "host-1", Version: "1.2"})
	lease, err := host.JoinHost(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	f.create("web")
	if err := host.TakeSeats(t.Context(), lease, "web"); err != nil {
		t.Fatal(err)
	}
	h, _, err := f.Host(t.Context(), "host-1")
	if err != nil || !h.There || h.Version != "1.2" || h.Seats != 1 || !h.JoinedAt.Equal(start) || !h.CertificateEnds.Equal(start.Add(time.Hour)) {
		t.Errorf("the host is %+v, %v", h, err)
	}
	if _, err := f.EnrollHost(t.Context(), "host-1", time.Hour); err != nil { // which nobody uses
		t.Fatal(err)
	}
	if err := f.EvictHost(t.Context(), "host-1"); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{records.JoinTokenPrefix, records.EnrolledPrefix, records.HostPrefix, records.SeatPrefix} {
		if page, err := f.store.List(t.Context(), store.Range{Prefix: prefix}); err != nil || len(page.Records) != 0 {
			t.Errorf("left of %s: %+v, %v", prefix, page.Records, err)
		}
	}
	// What it had is known for ended as long as it could be shown.
	if _, err := f.store.Get(t.Context(), records.EndedKey("host-1", "x")); err != nil {
		t.Error(err)
	}
	f.sleep(time.Hour)
	if n, err := f.Forget(t.Context()); err != nil || n != 0 {
		t.Errorf("%d forgotten, %v", n, err)
	}
	f.sleep(time.Hour)
	if n, err := f.Forget(t.Context()); err != nil || n != 1 {
		t.Errorf("%d forgotten, %v", n, err)
	}
	h, _, err = f.Host(t.Context(), "host-1")
	if err != nil || h.There || h.Version != "1.2" || !h.JoinedAt.IsZero() || h.Seats != 0 {
		t.Errorf("the evicted host is %+v, %v", h, err)
	}
	// Once more, and it is forgotten.
	if err := f.EvictHost(t.Context(), "host-1"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Host(t.Context(), "host-1"); openimds.KindOf(err) != openimds.NotFound {
		t.Errorf("the forgotten host: %v", err)
	}
	if err := f.EvictHost(t.Context(), "host-1"); openimds.KindOf(err) != openimds.NotFound {
		t.Errorf("to evict nobody: %v", err)
	}
	var told []string
	for _, e := range f.entries {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, string(i.Token)) || strings.Contains(text, fmt.Sprintf("%x", i.Token.Sum())) {
			t.Errorf("the audit log is told of a token: %s", text)
		}
		if strings.HasPrefix(e.Resource, "Host/") {
			told = append(told, e.What+" "+e.Resource)
		}
	}
	if want := []string{"EnrollHost Host/host-1", "EnrollHost Host/host-1", "EnrollHost Host/host-1", "EvictHost Host/host-1", "EvictHost Host/host-1"}; !slices.Equal(told, want) {
		t.Errorf("the audit log is told %q", told)
	}
}

// TestEvictInAllRegions: a host that is evicted in one region is there in none, and nothing waits for it in any: neither
// in the one at home, nor in further ones, nor in one that the server that is asked does not have.
func TestEvictInAllRegions(t *testing.T) {
	regions := []string{"us-east-1", "eu-central-1", "eu-west-1"} // the first is at home
	for _, asked := range regions {
		t.Run(asked, func(t *testing.T) {
			whole := mem.New()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			enrolled, err := records.Encode(records.Enrolled{ID: "x", JoinedAt: start, CertificateEnds: start.Add(time.Hour)})
			must(err)
			_, err = whole.Commit(t.Context(), store.Change{Key: records.EnrolledKey("host-1"), Value: enrolled, If: store.IfAbsent})
			must(err)
			parts := map[string]store.Store{}
			for i, region := range regions {
				parts[region] = whole
				if i > 0 {
					parts[region] = within.New(whole, records.RegionKey(region), records.SharedPrefixes()...)
				}
				host := control.New(parts[region], control.Config{Region: region, AccountID: "123456789012", Host: "host-1"})
				lease, err := host.JoinHost(t.Context(), true)
				must(err)
				_, err = parts[region].Commit(t.Context(), store.Change{Key: records.SeatKey("web", "host-1"), Value: []byte("{}"), If: store.IfAbsent, Lease: lease})
				must(err)
			}
			api := control.New(parts[asked], control.Config{Region: asked, HomeRegion: regions[0], Whole: whole, AccountID: "123456789012", Host: "api"})
			gone := func(keys ...string) {
				t.Helper()
				for region, part := range parts {
					for _, key := range keys {
						if _, err := part.Get(t.Context(), key); !errors.Is(err, store.ErrNoRecord) {
							t.Errorf("%s is there in %s: %v", key, region, err)
						}
					}
				}
			}
			must(api.EvictHost(t.Context(), "host-1"))
			gone(records.HostKey("host-1"), records.SeatKey("web", "host-1"))
			must(api.EvictHost(t.Context(), "host-1")) // one that is not there is forgotten
			gone(records.KnownKey("host-1"))
		})
	}
}

// TestEnrollWithoutDoor: where no host could join none is invited.
func TestEnrollWithoutDoor(t *testing.T) {
	f := newFixture(t, nil)
	if _, err := f.EnrollHost(t.Context(), "host-1", time.Hour); openimds.KindOf(err) != openimds.OperationFailure {
		t.Errorf("the error is %v", err)
	}
}

// TestNamelessHost: a name that was made up for a process is nobody's once that is gone.
func TestNamelessHost(t *testing.T) {
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.Host, c.Nameless = "made-up", true })
	lease, err := f.JoinHost(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := f.Hosts(t.Context()); err != nil || len(all) != 1 || !all[0].There {
		t.Errorf("the hosts are %+v, %v", all, err)
	}
	if err := f.store.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if all, err := f.Hosts(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("once it is gone the hosts are %+v, %v", all, err)
	}
}

// TestForgetInvitation: an invitation that nobody used is forgotten a day after its time, and one that was made anew stays.
func TestForgetInvitation(t *testing.T) {
	var o *overtaken
	f := newFixture(t, func(c *control.Config, s *store.Store) { o = &overtaken{Store: *s}; *s, c.Door = o, door{} })
	enroll := func(name string) {
		t.Helper()
		if _, err := f.EnrollHost(t.Context(), name, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	forget := func(want int, left ...string) {
		t.Helper()
		if n, err := f.Forget(t.Context()); err != nil || n != want {
			t.Errorf("%d forgotten, %v", n, err)
		}
		page, err := f.store.List(t.Context(), store.Range{Prefix: records.JoinTokenPrefix})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range page.Records {
			got = append(got, r.Key)
		}
		if !slices.Equal(got, left) {
			t.Errorf("left are %q, want %q", got, left)
		}
	}
	enroll("host-1")
	enroll("host-2")
	f.sleep(24 * time.Hour)
	forget(0, records.JoinTokenKey("host-1"), records.JoinTokenKey("host-2"))
	f.sleep(time.Hour)
	o.before = func() { enroll("host-2") } // while it is being forgotten
	forget(1, records.JoinTokenKey("host-2"))
}

// TestHostsOfMany: hosts are listed, shown, drained and settled whatever the number of attachments, of which each has its own.
func TestHostsOfMany(t *testing.T) {
	h := newHosts(t)
	h.attach("web-0", "one", "tap0")
	h.attach("web-1", "two", "tap0")
	const many = 100_001 // more than are listed at once
	var changes []store.Change
	put := func(key string, v any) {
		value, err := records.Encode(v)
		h.must(err)
		if changes = append(changes, store.Change{Key: key, Value: value, If: store.IfAbsent}); len(changes) == 100 {
			_, err := h.store.Commit(t.Context(), changes...)
			h.must(err)
			changes = changes[:0]
		}
	}
	for i := range many {
		a := openimds.Attachment{Instance: fmt.Sprintf("of-%06d", i), Host: "two", Interface: fmt.Sprint("link", i), CreatedAt: time.Unix(1, 0).UTC()}
		if i == 3 {
			a.Host = "one"
			put(records.PlaceKey(&a), []records.Placed{{Attachment: a}})
		}
		put(records.AttachmentPrefix+a.Instance, a)
	}
	if _, err := h.store.Commit(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	all, err := h.api.Hosts(t.Context())
	h.must(err)
	counts := map[string]int{}
	for _, host := range all {
		counts[host.Name] = host.Attachments
	}
	if want := map[string]int{"api": 0, "one": 2, "two": many}; !reflect.DeepEqual(counts, want) {
		t.Errorf("the hosts have %v attachments, want %v", counts, want)
	}
	one, attached, err := h.api.Host(t.Context(), "one")
	h.must(err)
	if one.Attachments != 2 || !one.There || len(attached) != 2 || attached[0].Instance != "of-000003" || attached[1].Instance != "web-0" {
		t.Errorf("host one is %+v with %v", one, attached)
	}
	h.must(h.api.DrainHost(t.Context(), "one"))
	if one, _, err := h.api.Host(t.Context(), "one"); err != nil || one.Drained.IsZero() {
		t.Errorf("host one is drained: %+v, %v", one, err)
	}
	h.must(h.api.UndrainHost(t.Context(), "one"))
	h.must(h.api.SettleHosts(t.Context()))
}

// TestFormerHosts: who had an instance may go on answering for it until it has let go, is evicted, or comes no more as it
// was evicted before.
func TestFormerHosts(t *testing.T) {
	h := newHosts(t)
	enroll := func() {
		enrolled, err := records.Encode(records.Enrolled{ID: "x"})
		h.must(err)
		_, err = h.store.Commit(t.Context(), store.Change{Key: records.EnrolledKey("one"), Value: enrolled, If: store.Whatever})
		h.must(err)
	}
	former := func(instance, host string, open bool) {
		t.Helper()
		in, err := h.api.Instance(t.Context(), instance)
		h.must(err)
		of, err := control.FormerHosts(h.store)(t.Context(), in.ID)
		h.must(err)
		if len(of) != 1 || of[0].InstanceID != in.ID || of[0].Host != host || of[0].Since.IsZero() || of[0].Until.IsZero() != open {
			t.Errorf("the former hosts of %s are %+v, want %s, which may answer for it: %v", instance, of, host, open)
		}
	}
	h.attach("web-0", "one", "tap0")
	h.attach("web-1", "one", "tap1")
	h.attach("web-2", "one", "tap2")
	h.must(h.one.TakeSeats(t.Context(), h.leases[h.one], "web-0"))
	h.attach("web-0", "two", "tap0")
	former("web-0", "one", true)
	h.must(h.one.LeaveSeat(t.Context(), "web-0"))
	former("web-0", "one", false)
	h.attach("web-1", "two", "tap1")
	enroll()
	former("web-1", "one", true)
	h.must(h.api.EvictHost(t.Context(), "one"))
	former("web-1", "one", false)
	h.attach("web-2", "two", "tap2")
	former("web-2", "one", false)
	all, err := control.FormerHosts(h.store)(t.Context(), "")
	h.must(err)
	if len(all) != 3 {
		t.Errorf("all are %+v", all)
	}
	// One that has come anew may be gone without a word again.
	_, err = h.one.JoinHost(t.Context(), true)
	h.must(err)
	h.attach("web-0", "one", "tap5")
	h.attach("web-0", "two", "tap6")
	in, err := h.api.Instance(t.Context(), "web-0")
	h.must(err)
	of, err := control.FormerHosts(h.store)(t.Context(), in.ID)
	h.must(err)
	if n := len(slices.DeleteFunc(of, func(f openimds.FormerHost) bool { return f.Host != "one" || !f.Until.IsZero() })); n != 1 {
		t.Errorf("of a host that has come anew %d stays are open", n)
	}
}
