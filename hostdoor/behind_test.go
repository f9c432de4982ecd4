package hostdoor_test

import (
	"context"
	"slices"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// A replica that has not heard yet of what was attached a moment ago tells of it all the same, in every region: the host
// would let go of it otherwise, as of what it has no more.
func TestListIsNotBehind(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.keepAlive(a.joinHost(further))
	goOn := r.hold()
	defer goOn()
	r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	_, err := r.services[further].CreateInstances(t.Context(), control.InstancesLaunch{
		Names: []string{"far"}, Zone: further + "a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
	})
	must(t, err)
	_, err = r.services[further].AttachInstance(t.Context(), openimds.Attachment{Instance: "far", Host: "host-a", Interface: "tap1"})
	must(t, err)
	kept, _ := a.copied()
	want := []string{"attachment/mine", "instance/mine", "region/" + further + "/attachment/far", "region/" + further + "/instance/far"}
	if got := keys(t, kept); !slices.Equal(got, want) {
		t.Errorf("the host is told of %q, want %q", got, want)
	}
}

// What became of an instance before its host was told that it has it is not told afterwards: the host has it still.
func TestToldOnlyWhatComesAfter(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.join("host-b")
	r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	first, _ := a.copied()
	eventually(t, "the replica knows who has the instance", func() bool { return slices.Contains(keys(t, first), "attachment/mine") })
	goOn := r.hold()
	for _, to := range []string{"host-b", "host-a", "host-b", "host-a"} { // it ends where it was
		r.detach("mine")
		r.attach("mine", to, "tap0")
	}
	kept, _ := a.copied()
	listed, err := kept.List(t.Context(), store.Range{})
	must(t, err)
	if got := keys(t, kept); !slices.Contains(got, "attachment/mine") {
		t.Fatalf("the host is told of %q", got)
	}
	goOn()
	r.setUserData("mine", []byte("last"))
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	for watch, last := kept.Watch("", listed.Revision), false; !last; {
		changes, err := watch.Next(ctx)
		must(t, err)
		for _, c := range changes {
			if c.Value == nil {
				t.Errorf("the host is told that it has no %s any more", c.Key)
			}
			last = last || c.Key == "instance/mine"
		}
	}
}
