package hostdoor_test

import (
	"slices"
	"testing"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// An attachment that this replica cannot read, as one of a later schema while replicas are upgraded one after the other,
// takes no guest away: its host goes on with what it knows, also when it is told all anew, and is told of what comes next.
func TestAttachmentUnread(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.create("mine", "before")
	r.create("other", "")
	r.attach("mine", "host-a", "tap0")
	r.attach("other", "host-a", "tap1")
	kept, _ := a.copied()
	key := records.AttachmentPrefix + "mine"
	was, err := r.store.Get(t.Context(), key)
	must(t, err)
	_, err = r.store.Commit(t.Context(), store.Change{Key: key, Value: []byte(`{"schema":99,"data":{}}`), If: store.Whatever})
	must(t, err)
	there := func() bool {
		all := keys(t, kept)
		return slices.Contains(all, key) && slices.Contains(all, records.InstancePrefix+"mine")
	}
	goneOf := func(name string) {
		t.Helper()
		r.detach(name)
		eventually(t, "the host is told of what comes next", func() bool { return !slices.Contains(keys(t, kept), records.AttachmentPrefix+name) })
		if !there() {
			t.Fatal("the guest is taken away")
		}
	}
	goneOf("other")
	r.create("third", "")
	r.attach("third", "host-a", "tap2")
	eventually(t, "the host has it", func() bool { return slices.Contains(keys(t, kept), records.AttachmentPrefix+"third") })
	r.door.EndStreams()
	goneOf("third")
	_, err = r.store.Commit(t.Context(), store.Change{Key: key, Value: was.Value, If: store.Whatever})
	must(t, err)
	data := []byte("after")
	r.setUserData("mine", data)
	eventually(t, "the host is told of the instance again", func() bool {
		k, err := kept.Get(t.Context(), records.InstancePrefix+"mine")
		must(t, err)
		in, err := records.DecodeInstance(k)
		must(t, err)
		return string(in.UserData) == "after"
	})
	_, err = r.store.Commit(t.Context(), store.Change{Key: key, Value: []byte(`{"schema":99,"data":{}}`), If: store.Whatever})
	must(t, err)
	r.create("fourth", "")
	r.attach("fourth", "host-a", "tap3")
	eventually(t, "the host has it", func() bool { return slices.Contains(keys(t, kept), records.AttachmentPrefix+"fourth") })
	r.door.EndStreams()
	goneOf("fourth")
	_, err = r.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: key, If: store.Whatever})
	must(t, err)
	eventually(t, "it is gone", func() bool { return !there() })
}
