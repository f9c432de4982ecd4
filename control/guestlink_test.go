package control_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

var (
	machine = []openimds.GuestLink{{MAC: "52:54:00:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.1.2/24")}}}
	renewed = []openimds.GuestLink{{MAC: "52:54:00:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.1.3/24")}}}
)

func (b *binding) learn(a *openimds.Attachment, face openimds.Face, links []openimds.GuestLink) {
	b.t.Helper()
	if err := b.BindAttachments(b.t.Context(), []openimds.Binding{{Instance: a.Instance, CreatedAt: a.CreatedAt, Face: face, Links: links}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *binding) links(name string) []openimds.GuestLink {
	b.t.Helper()
	in, err := b.Instance(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return in.Links
}

// TestLearned: what the host learns is the instance's with the binding, follows the guest, and ends with the
// attachment; another guest's place has nothing of the former one.
func TestLearned(t *testing.T) {
	b := newBinding(t)
	a := b.attach(tap0)
	b.learn(a, vm1, machine)
	if got := b.attachment("web-0"); got.Bound == nil || *got.Bound != vm1 || !reflect.DeepEqual(got.Learned, machine) {
		t.Fatalf("attached as %+v", got)
	}
	if got := b.links("web-0"); !reflect.DeepEqual(got, machine) {
		t.Fatalf("the instance has %v", got)
	}
	b.learn(a, openimds.Face{}, renewed)
	if got := b.attachment("web-0"); *got.Bound != vm1 || !reflect.DeepEqual(b.links("web-0"), renewed) {
		t.Fatalf("attached as %+v, the instance has %v", got, b.links("web-0"))
	}
	b.learn(&openimds.Attachment{Instance: "web-0", CreatedAt: a.CreatedAt.Add(-1)}, openimds.Face{}, machine)
	b.learn(a, openimds.Face{}, []openimds.GuestLink{{MAC: "nonsense"}})
	if got := b.links("web-0"); !reflect.DeepEqual(got, renewed) {
		t.Fatalf("of an earlier attachment, or of what cannot be, the instance has %v", got)
	}
	b.host.found = &vm2
	again := b.attach(tap0)
	if got := b.links("web-0"); again.Learned != nil || got != nil {
		t.Fatalf("another guest has %v of the former one", got)
	}
	b.host.found = nil
	b.learn(again, openimds.Face{}, machine)
	if _, err := b.DetachInstance(t.Context(), "web-0"); err != nil {
		t.Fatal(err)
	}
	if got := b.links("web-0"); got != nil {
		t.Fatalf("detached, the instance has %v", got)
	}
	b.learn(again, openimds.Face{}, machine)
	if got := b.links("web-0"); got != nil {
		t.Fatalf("what came late has given it %v", got)
	}
}

// TestGiven: what the operator says is there at once, beats what is learned and is taken back by attaching again.
func TestGiven(t *testing.T) {
	b := newBinding(t)
	given := openimds.Attachment{Instance: "web-0", Netns: "box", MAC: "52:54:00:00:00:09", PrivateIPs: []netip.Prefix{netip.MustParsePrefix("10.9.1.9/25")}}
	want := []openimds.GuestLink{{MAC: given.MAC, Addresses: given.PrivateIPs}}
	a := b.attach(given)
	if got := b.links("web-0"); !reflect.DeepEqual(got, want) {
		t.Fatalf("the instance has %v", got)
	}
	b.learn(a, openimds.Face{Boot: "b", Cookie: 7}, machine)
	if got := b.links("web-0"); !reflect.DeepEqual(got, want) {
		t.Fatalf("the instance has %v", got)
	}
	b.attach(openimds.Attachment{Instance: "web-0", Netns: "box"})
	if got := b.links("web-0"); !reflect.DeepEqual(got, machine) {
		t.Fatalf("the instance has %v", got)
	}
}

// TestSharedAddresses: two guests with the same address are told of, each by the other's name.
func TestSharedAddresses(t *testing.T) {
	b := newBinding(t)
	one := b.attach(tap0)
	two := b.attach(openimds.Attachment{Instance: "web-1", Interface: "tap1", PrivateIPs: []netip.Prefix{netip.MustParsePrefix("10.9.1.2/32")}})
	b.learn(one, vm1, machine)
	statuses, err := b.AttachmentStatuses(t.Context(), []*openimds.Attachment{b.attachment("web-0"), two})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"the guest of web-1 has the private address 10.9.1.2 too", "the guest of web-0 has the private address 10.9.1.2 too"} {
		if !strings.HasSuffix(statuses[i].Reason, want) {
			t.Errorf("%s: %q", statuses[i].Instance, statuses[i].Reason)
		}
	}
	b.learn(one, openimds.Face{}, renewed)
	statuses, err = b.AttachmentStatuses(t.Context(), []*openimds.Attachment{b.attachment("web-0"), two})
	if err != nil || strings.Contains(statuses[0].Reason+statuses[1].Reason, "too") {
		t.Errorf("%+v, %v", statuses, err)
	}
}
